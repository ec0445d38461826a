# The compiled core. sim/ops and fitlab/fit/response.py are its only callers and say what its functions take and give.
from typing import Any

def __getattr__(name: str) -> Any: ...
