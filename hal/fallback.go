package hal

// fallBack appends what stands in for capabilities that nobody has, where that
// is honest, and lists what the camera can do.
func (c *Camera) fallBack() []Capability {
	by := map[string]string{}
	add := func(name, how string, part any) {
		c.parts = append(c.parts, part)
		by[name] = how
	}
	if _, has := As[KeyframeRequester](c.parts...); !has && c.reopens(nil) {
		add(CapKeyframe, "restart", keyByRestart{c})
	}
	if _, has := As[EncoderTuner](c.parts...); !has && c.reopens(StreamInfo.tunable) {
		add(CapTune, "restart", tuneByRestart{c})
	}
	return capabilities(c.parts, by)
}

// capabilities lists what parts implement; by tells how if it is a fall-back.
func capabilities(parts []any, by map[string]string) []Capability {
	var list []Capability
	add := func(name string, has bool) {
		if has {
			list = append(list, Capability{name, by[name]})
		}
	}
	add(CapKeyframe, has[KeyframeRequester](parts))
	add(CapTune, has[EncoderTuner](parts))
	add(CapImage, has[ImageTuner](parts))
	add(CapOverlay, has[Overlayer](parts))
	add(CapDayNight, has[DayNight](parts))
	add(CapIRFilter, has[IRFilter](parts))
	add(CapLights, has[Lights](parts))
	add(CapLightSensor, has[LightSensor](parts))
	add(CapSnapshot, has[Snapshotter](parts))
	add(CapMotion, has[MotionDetector](parts))
	add(CapMicrophone, has[Microphone](parts))
	add(CapSpeaker, has[Speaker](parts))
	add(CapPTZ, has[PTZ](parts))
	add(CapButtons, has[Buttons](parts))
	add(CapLEDs, has[LEDs](parts))
	add(CapSiren, has[Siren](parts))
	add(CapDisplay, has[Display](parts))
	add(CapSensors, has[Sensors](parts))
	add(CapIdentity, has[IdentityStore](parts))
	add(CapFirmware, has[Firmware](parts))
	return list
}

func has[T any](parts []any) bool { _, ok := As[T](parts...); return ok }

// reopens tells whether a stream can be restarted, and is what is asked for.
func (c *Camera) reopens(is func(StreamInfo) bool) bool {
	for _, s := range c.slots {
		if s.info.Reopens && (is == nil || is(s.info)) {
			return true
		}
	}
	return false
}

func (s StreamInfo) tunable() bool {
	return s.FPS != (Range{}) || s.GOP != (Range{}) || s.Bitrate != (Range{})
}

// keyByRestart makes a key frame by opening the stream anew.
type keyByRestart struct{ c *Camera }

// RequestKeyframe is KeyframeRequester's.
func (k keyByRestart) RequestKeyframe(stream string) error {
	v, err := k.c.running(stream)
	if err != nil {
		return err
	}
	if !v.slot.info.Reopens {
		return unable(CapKeyframe)
	}
	return v.reopen()
}

// tuneByRestart opens the stream anew with another wish.
type tuneByRestart struct{ c *Camera }

// Tune is EncoderTuner's.
func (t tuneByRestart) Tune(stream string, patch VideoConfig) (VideoConfig, error) {
	v, err := t.c.running(stream)
	if err != nil {
		return VideoConfig{}, err
	}
	if !v.slot.info.Reopens || !v.slot.info.tunable() {
		return VideoConfig{}, unable(CapTune)
	}
	want := v.wish(patch)
	return want, v.reopen()
}

// wish keeps what a restart is to ask the device for; zero fields stay.
func (v *Video) wish(patch VideoConfig) VideoConfig {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.want = v.want.With(patch)
	return v.want
}

// With returns c with those fields of patch that are not zero.
func (c VideoConfig) With(patch VideoConfig) VideoConfig {
	for _, f := range []struct {
		to   *int
		from int
	}{{&c.Width, patch.Width}, {&c.Height, patch.Height}, {&c.FPS, patch.FPS}, {&c.GOP, patch.GOP}, {&c.Bitrate, patch.Bitrate}} {
		if f.from != 0 {
			*f.to = f.from
		}
	}
	return c
}
