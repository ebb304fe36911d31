package cloud

// Version is that of all programs, set when they are built (-ldflags -X).
var Version = "unknown"

// Built is when they were built, RFC 3339, or empty; set as Version is.
var Built = ""
