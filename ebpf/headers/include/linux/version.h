/* BCC_LINUX_VERSION_CODE, set by the loader, stands in for the running kernel's. */
#define LINUX_VERSION_CODE 0x061200
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
