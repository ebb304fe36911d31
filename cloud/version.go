package cloud

// Version is that of all programs, set when they are built (-ldflags -X).
var Version = "unknown"
