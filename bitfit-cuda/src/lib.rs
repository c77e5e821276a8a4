//! bitfit-cuda
