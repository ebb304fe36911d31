package hal

// fallBack appends what stands in for capabilities that nobody has, where that
// is honest, and lists what the camera can do.
func (c *Camera) fallBack() []Capability {
	by := map[string]string{}
	add := func(name, how string, part any) {
		c.parts = append(c.parts, part)
		by[name] = how
	}
	if !has[KeyframeRequester](c.parts) && c.reopens(nil) {
		add(CapKeyframe, "restart", keyByRestart{c})
	}
	if !has[EncoderTuner](c.parts) && c.reopens(StreamInfo.tunable) {
		add(CapTune, "restart", tuneByRestart{c})
	}
	grabber, grabs := As[Grabber](c.parts...)
	if !has[Snapshotter](c.parts) && grabs {
		add(CapSnapshot, "picture", stillByPicture{grabber})
	}
	if !has[MotionDetector](c.parts) {
		if grabs {
			m := newMotionByPicture(grabber, c.closed)
			add(CapMotion, "picture", m)
			c.pictures, c.work = m, append(c.work, m.run)
		} else {
			c.sizes.used = true
			add(CapMotion, "frame sizes", c.sizes)
		}
	}
	if filter, ok := As[IRFilter](c.parts...); ok && !has[DayNight](c.parts) {
		d := newDayNightByFilter(filter, c.parts, c.disturbed)
		add(CapDayNight, "filter and light", d)
		if d.sensor != nil {
			c.work = append(c.work, d.run)
		}
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
	v.wish(patch)
	if err := v.reopen(); err != nil {
		return VideoConfig{}, err
	}
	return v.Config(), nil
}

// wish keeps what a restart is to ask the device for; zero fields stay.
func (v *Video) wish(patch VideoConfig) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.want = v.want.With(patch)
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
