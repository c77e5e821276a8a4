// Loading an image: decodes it to a shared library, loads that into the process, and reads its table.

#include "module.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../image.h"
#include "options.h"

Module::~Module() {
    if (library) dlclose(library);
}

// Finds the calling thread's copy of the module's thread-local variables, which are the __shared__ ones.
static void find_shared(Module* module) {
    link_map* map = nullptr;
    dlinfo(module->library, RTLD_DI_LINKMAP, &map);
    auto anchor = static_cast<uint8_t*>(module->table->shared());
    struct Found {
        ElfW(Addr) base;
        uint8_t* start;
        size_t bytes;
    } found{map->l_addr, nullptr, 0};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
            auto* found = static_cast<Found*>(data);
            if (info->dlpi_addr != found->base) return 0;
            found->start = static_cast<uint8_t*>(info->dlpi_tls_data);
            for (int i = 0; i < info->dlpi_phnum; ++i)
                if (info->dlpi_phdr[i].p_type == PT_TLS) found->bytes = info->dlpi_phdr[i].p_memsz;
            return 1;
        },
        &found);
    if (!found.start) return;
    module->shared_bytes = found.bytes;
    module->shared_offset = found.start - anchor;
}

CUresult load_module(const char* text, std::unique_ptr<Module>* loaded) {
    std::string bytes;
    if (!image::decode(text, &bytes)) {
        fprintf(stderr, "bitfit emulator: cuModuleLoadData: this is no image of the emulated NVRTC\n");
        return strncmp(text,
                       "\x7f"
                       "ELF",
                       4) == 0
                   ? CUDA_ERROR_NO_BINARY_FOR_GPU
                   : CUDA_ERROR_INVALID_PTX;
    }
    // A file with a unique name: dlopen takes files of the same name for the same library, so the path of a memfd does
    // not work.
    const char* directory = getenv("TMPDIR");
    std::string path = std::string(directory && *directory ? directory : "/tmp") + "/bitfit-emulated-kernels-XXXXXX";
    int file = mkostemp(path.data(), O_CLOEXEC);
    bool written = file >= 0 && write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    if (file >= 0) close(file);
    auto module = std::make_unique<Module>();
    if (written) module->library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (file >= 0) unlink(path.c_str());
    if (!written) {
        perror(("bitfit emulator: " + path).c_str());
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
    if (!module->library) {
        fprintf(stderr, "bitfit emulator: cuModuleLoadData: %s\n", dlerror());
        return CUDA_ERROR_INVALID_IMAGE;
    }
    module->table = static_cast<const EmulatedModule*>(dlsym(module->library, "emulated_module"));
    if (!module->table || module->table->abi != EMULATED_ABI) {
        fprintf(stderr, "bitfit emulator: cuModuleLoadData: the image was made by another version of the emulator\n");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (module->table->architecture / 10 > options().architecture / 10 || module->table->architecture > options().architecture) {
        fprintf(stderr, "bitfit emulator: cuModuleLoadData: the image is for sm_%u, the device is sm_%u\n",
                module->table->architecture, options().architecture);
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    find_shared(module.get());
    for (unsigned i = 0; i < module->table->kernel_count; ++i) {
        const EmulatedKernel* kernel = &module->table->kernels[i];
        auto function = std::make_unique<Function>();
        function->kernel = kernel;
        function->module = module.get();
        module->functions[kernel->name] = std::move(function);
    }
    *loaded = std::move(module);
    return CUDA_SUCCESS;
}
