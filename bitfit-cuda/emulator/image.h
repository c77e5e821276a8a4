// The format in which the emulated NVRTC passes a compiled module to the emulated driver: text with a final NUL, like
// PTX, so that it can be stored as a string or in a file.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace image {

inline constexpr char HEAD[] = "// kernels for the emulated CUDA driver of bitfit: no GPU runs this. They are\n";
inline constexpr char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Encodes `bytes` in base 64 after the head line and a line with the kernels' names, which are readable as in a real
// image. The last group is padded with zeros, which are harmless at the end of a shared library.
inline std::string encode(const std::string& bytes, const std::string& names) {
    std::string text = HEAD + ("// " + names) + "\n";
    text.reserve(text.size() + bytes.size() / 3 * 4 + 4);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        uint32_t group = 0;
        for (size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
        for (int shift = 18; shift >= 0; shift -= 6) text += DIGITS[group >> shift & 63];
    }
    return text;
}

// Decodes `text`; false if it does not have these lines, or other characters than digits after them.
inline bool decode(const char* text, std::string* bytes) {
    if (strncmp(text, HEAD, sizeof HEAD - 1) != 0) return false;
    const char* line = strchr(text + sizeof HEAD - 1, '\n');
    if (!line) return false;
    int8_t value[256];
    memset(value, -1, sizeof value);
    for (int i = 0; i < 64; ++i) value[static_cast<uint8_t>(DIGITS[i])] = static_cast<int8_t>(i);
    uint32_t group = 0;
    unsigned digits = 0;
    for (const char* at = line + 1; *at; ++at) {
        int8_t digit = value[static_cast<uint8_t>(*at)];
        if (digit < 0) return false;
        group = group << 6 | static_cast<uint32_t>(digit);
        if (++digits % 4 == 0) {
            for (int shift = 16; shift >= 0; shift -= 8) *bytes += static_cast<char>(group >> shift);
            group = 0;
        }
    }
    return digits % 4 == 0;
}

}
