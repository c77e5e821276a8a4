// Code after a kernel's source when the emulated NVRTC compiles it, before the table of the kernels that were found: it
// calls a kernel through an array of pointers to its arguments, as cuLaunchKernel is given them.

template <typename T>
inline constexpr EmulatedParameter emulated_parameter{sizeof(T), false, false};
template <typename T>
inline constexpr EmulatedParameter emulated_parameter<T*>{sizeof(T*), true, true};
template <typename T>
inline constexpr EmulatedParameter emulated_parameter<const T*>{sizeof(T*), true, false};

template <size_t... I>
struct EmulatedIndices {};

template <typename... T, size_t... I>
inline void emulated_apply(void (*kernel)(T...), void** arguments, EmulatedIndices<I...>) {
    kernel(*static_cast<T*>(arguments[I])...);
}

template <auto kernel>
struct EmulatedSignature;
template <typename... T, void (*kernel)(T...)>
struct EmulatedSignature<kernel> {
    static constexpr unsigned count = sizeof...(T);
    static constexpr EmulatedParameter parameters[count + 1] = {emulated_parameter<T>..., {}};
    static void call(void** arguments) { emulated_apply(kernel, arguments, EmulatedIndices<__integer_pack(sizeof...(T))...>{}); }
};

static thread_local char emulated_shared_anchor;
static void* emulated_shared() {
    asm volatile("" ::: "memory");
    return &emulated_shared_anchor;
}

#define EMULATED_KERNEL(kernel, bounds) \
    {#kernel, EmulatedSignature<kernel>::call, EmulatedSignature<kernel>::parameters, EmulatedSignature<kernel>::count, bounds},
