// Aligned working memory of one thread or one call, freed at the end of its scope.
#pragma once
#include <cstdlib>
#include <new>

namespace sim {
namespace {

template <class T> class Scratch {
  public:
    explicit Scratch(size_t n) {
        const size_t bytes = (n * sizeof(T) + 63) / 64 * 64 + 64;
        data_ = static_cast<T*>(aligned_alloc(64, bytes));
        if (!data_) throw std::bad_alloc();
    }
    ~Scratch() { free(data_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    T* get() { return data_; }
    T& operator[](size_t k) { return data_[k]; }

  private:
    T* data_;
};

}  // namespace
}  // namespace sim
