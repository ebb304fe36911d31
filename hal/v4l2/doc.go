// Package v4l2 is the board for cameras that give H.264 by themselves through
// Linux's Video4Linux: USB cameras with an H.264 encoder (UVC), and drivers
// that offer H264 on a capture node. It speaks to the kernel by system calls
// alone, without a C library, and never decodes what it hands out.
//
// What a camera can do is asked of its driver when the board is made, and no
// more than that is claimed: forced key frames and bitrate by the H.264
// extension unit of USB cameras or by the driver's encoder controls, picture
// controls as far as there are any, still pictures if a second node for them is
// configured. What is lacking [hal.Camera] does by restart, where it can.
//
// A camera that is pulled ends its stream with [hal.ErrGone]; when it is back,
// under another number too, OpenVideo finds it again. The board doesn't wait
// for that by itself. It owns the file descriptors of open streams, and no
// goroutine.
package v4l2
