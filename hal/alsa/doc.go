// Package alsa is a part for [hal.NewCamera]: microphone and speaker through
// the sound devices of the Linux kernel (/dev/snd/pcm…), by system calls alone,
// without a C library and its configuration.
//
// Sound comes as L16, mono, at 16000 or 8000 samples a second; a device that
// has only other rates or two channels is converted. The speaker takes L16 at
// both rates, and G.711. Samples that the device lost, because nobody fetched
// them in time, are counted and no error.
package alsa
