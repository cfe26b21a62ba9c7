// twnc for C++17: owners of twnc.h's handles, its codes as exceptions, and its arrays from anything that has data() and size().
//
// Nothing here is compiled into the library: it is as stable as twnc.h.
#ifndef TWNC_HPP
#define TWNC_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "twnc.h"

namespace twnc {

// What a call was refused for; code() is one of twnc.h.
class Error : public std::runtime_error {
  public:
    Error(twnc_code code, const std::string &message) : std::runtime_error(message), code_(code) {}
    twnc_code code() const noexcept { return code_; }

  private:
    twnc_code code_;
};

inline void check(twnc_code code) {
    if (code != TWNC_OK)
        throw Error(code, twnc_error_message());
}

namespace detail {

struct Free {
    void operator()(twnc_module *module) const noexcept { twnc_module_free(module); }
    void operator()(twnc_session *session) const noexcept { twnc_session_free(session); }
    void operator()(twnc_options *options) const noexcept { twnc_options_free(options); }
};

template <class Handle> using Owner = std::unique_ptr<Handle, Free>;

// The number of a C++ type among those of elements.
template <class T> constexpr twnc_element element_of() {
    if constexpr (std::is_same_v<T, float>)
        return TWNC_F32;
    else if constexpr (std::is_same_v<T, std::int8_t>)
        return TWNC_I8;
    else if constexpr (std::is_same_v<T, std::uint8_t>)
        return TWNC_U8;
    else if constexpr (std::is_same_v<T, std::int16_t>)
        return TWNC_I16;
    else if constexpr (std::is_same_v<T, std::int32_t>)
        return TWNC_I32;
    else if constexpr (std::is_same_v<T, std::int64_t>)
        return TWNC_I64;
    else {
        static_assert(std::is_same_v<T, bool>, "twnc has no elements of this type");
        return TWNC_BOOL;
    }
}

} // namespace detail

// An array for an input: a view of elements, which have to outlive it.
class Input {
  public:
    template <class Elements>
    Input(const char *name, const Elements &elements, std::vector<std::int64_t> shape)
        // C has one type for arrays that are read and for those that are written.
        : Input(name, const_cast<std::remove_cv_t<std::remove_pointer_t<decltype(elements.data())>> *>(elements.data()), elements.size(), std::move(shape)) {}
    twnc_array array() const { return {name_, data_, bytes_, element_, shape_.size(), shape_.data()}; }

  protected:
    template <class Element>
    Input(const char *name, Element *data, std::size_t size, std::vector<std::int64_t> shape)
        : name_(name), data_(data), bytes_(size * sizeof(Element)), element_(detail::element_of<Element>()), shape_(std::move(shape)) {}

  private:
    const char *name_;
    void *data_;
    std::size_t bytes_;
    twnc_element element_;
    std::vector<std::int64_t> shape_;
};

// An array for an output: the same, to be written to.
class Output : public Input {
  public:
    template <class Elements>
    Output(const char *name, Elements &elements, std::vector<std::int64_t> shape) : Input(name, elements.data(), elements.size(), std::move(shape)) {}
};

// Options of sessions.
class Options {
  public:
    Options() {
        twnc_options *options;
        check(twnc_options_new(&options));
        owner_.reset(options);
    }
    Options &threads(std::size_t count) { return check(twnc_options_set_threads(get(), count)), *this; }
    Options &backend(const std::string &name) { return check(twnc_options_set_backend(get(), name.c_str())), *this; }
    Options &max_memory(std::size_t bytes) { return check(twnc_options_set_max_memory(get(), bytes)), *this; }
    Options &tuning(const std::string &path) { return check(twnc_options_set_tuning(get(), path.c_str())), *this; }
    twnc_options *get() const noexcept { return owner_.get(); }

  private:
    detail::Owner<twnc_options> owner_;
};

// A loaded model.
class Module {
  public:
    explicit Module(const std::string &path) {
        twnc_module *module;
        check(twnc_module_open(path.c_str(), &module));
        owner_.reset(module);
    }
    Module(const void *bytes, std::size_t size) {
        twnc_module *module;
        check(twnc_module_from_bytes(bytes, size, &module));
        owner_.reset(module);
    }
    // What it takes and gives; the pointers in it stand as long as the module.
    std::vector<twnc_port> inputs() const { return ports(twnc_module_inputs); }
    std::vector<twnc_port> outputs() const { return ports(twnc_module_outputs); }
    twnc_module *get() const noexcept { return owner_.get(); }

  private:
    std::vector<twnc_port> ports(decltype(twnc_module_inputs) *of) const {
        const twnc_port *ports;
        std::size_t count;
        check(of(get(), &ports, &count));
        return {ports, ports + count};
    }
    detail::Owner<twnc_module> owner_;
};

// Runs a model; several threads may run one session.
class Session {
  public:
    explicit Session(const Module &module) : Session(module, nullptr) {}
    Session(const Module &module, const Options &options) : Session(module, options.get()) {}

    // The path of execution.
    std::string backend() const {
        const char *name;
        check(twnc_session_backend(get(), &name));
        return name;
    }
    // The sizes of an output, by its number, for inputs of these shapes.
    std::vector<std::int64_t> output_shape(const std::vector<Input> &inputs, std::size_t output) const {
        const std::vector<twnc_array> from = arrays(inputs);
        std::vector<std::int64_t> shape(output < ranks_.size() ? ranks_[output] : 0);
        check(twnc_session_output_shape(get(), from.data(), from.size(), output, shape.data(), shape.size()));
        return shape;
    }
    // Reads arrays for all inputs, writes arrays for all outputs.
    void run(const std::vector<Input> &inputs, const std::vector<Output> &outputs) const {
        const std::vector<twnc_array> from = arrays(inputs), to = arrays(outputs);
        check(twnc_session_run(get(), from.data(), from.size(), to.data(), to.size()));
    }
    twnc_session *get() const noexcept { return owner_.get(); }

  private:
    Session(const Module &module, const twnc_options *options) {
        twnc_session *session;
        check(twnc_session_new(module.get(), options, &session));
        owner_.reset(session);
        for (const twnc_port &port : module.outputs())
            ranks_.push_back(port.rank);
    }
    template <class Array> static std::vector<twnc_array> arrays(const std::vector<Array> &views) {
        std::vector<twnc_array> arrays;
        for (const Array &view : views)
            arrays.push_back(view.array());
        return arrays;
    }
    detail::Owner<twnc_session> owner_;
    std::vector<std::size_t> ranks_;
};

} // namespace twnc

#endif
