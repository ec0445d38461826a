"""The training figures of the tutorial on aihwkit, as studies: algorithms over epochs, ``auto_granularity``, states and noise.

After M. Le Gallo et al., APL Machine Learning 1, 041102 (2023), Figs. 8 to 10, on MNIST, with a device fitted to the pulse
response of N. Gong et al., Nat. Commun. 9, 2102 (2018).

    python -m studies.tutorial fig8 --data FOLDER_OF_MNIST [--out FOLDER]

``device.toml`` is what ``python -m studies.tutorial device --measured gong_et_al.csv`` writes. Results of our runs are in
``results``.
"""
