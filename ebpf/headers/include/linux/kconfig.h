/* What BCC's own headers ask of a kernel's configuration, and no more. */
#define CONFIG_BPF_SYSCALL 1
#define CONFIG_64BIT 1
