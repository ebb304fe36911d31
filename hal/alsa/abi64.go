//go:build amd64 || arm64 || riscv64

package alsa

// swParams is snd_pcm_sw_params where a C long has 64 bits.
type swParams struct {
	TstampMode                              int32
	PeriodStep, SleepMin                    uint32
	_                                       uint32
	AvailMin, XferAlign                     frames
	StartThreshold, StopThreshold           frames
	SilenceThreshold, SilenceSize, Boundary frames
	Proto, TstampType                       uint32
	_                                       [56]byte
}
