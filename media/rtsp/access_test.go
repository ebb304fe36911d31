package rtsp

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

func TestS3_NothingWithoutAPassword(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	for _, req := range []struct {
		method base.Method
		suffix string
		h      base.Header
	}{{base.Describe, "", nil}, {base.Describe, "/nowhere", nil}, {base.Setup, "/trackID=0", interleaved("0-1")}} {
		res := r.raw().do(req.method, req.suffix, req.h)
		require.Equal(t, base.StatusUnauthorized, res.StatusCode, req.method)
		challenges := res.Header["WWW-Authenticate"]
		require.Len(t, challenges, 2)
		require.Contains(t, challenges[0], `algorithm="SHA-256"`)
		require.Contains(t, challenges[1], `algorithm="MD5"`)
		require.NotContains(t, strings.Join(challenges, " "), "Basic")
		require.Empty(t, res.Body)
	}
	require.Zero(t, r.Viewers())
}

func TestS3_WrongPasswordIsAskedForAgainAndThenEndsTheConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	for _, who := range [][2]string{{user, "wrong"}, {"nobody", password}, {"nobody", ""}} {
		c := r.raw()
		c.user, c.password = who[0], who[1]
		before := r.Stats().AuthErrors
		challenge := c.do(base.Describe, "", nil)
		for range wrongAnswers {
			require.Equal(t, base.StatusUnauthorized, challenge.StatusCode)
			require.NotEmpty(t, challenge.Header["WWW-Authenticate"])
			c.answer(challenge)
			challenge = c.do(base.Describe, "", nil)
		}
		require.True(t, c.closed())
		require.EqualValues(t, wrongAnswers, r.Stats().AuthErrors-before)
	}
	require.NotZero(t, r.log.FilterMessageSnippet("wrong user or password").Len())
}

func TestS3_RightAfterWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	c := r.raw()
	c.password = "wrong"
	require.Equal(t, base.StatusUnauthorized, c.login().StatusCode)
	c.password, c.sender = password, nil
	require.Equal(t, base.StatusOK, c.login().StatusCode)
}

func TestS3_EitherDigestIsTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	for i, algorithm := range []string{"SHA-256", "MD5"} {
		c := r.raw()
		challenge := c.do(base.Describe, "", nil).Header["WWW-Authenticate"]
		require.Contains(t, challenge[i], algorithm)
		var err error
		c.sender, err = auth.NewSender(base.HeaderValue{challenge[i]}, user, password)
		require.NoError(t, err)
		require.Equal(t, base.StatusOK, c.do(base.Describe, "", nil).StatusCode, algorithm)
	}
	c := r.raw()
	res := c.do(base.Describe, "", base.Header{"Authorization": base.HeaderValue{"Basic bTc6Y29ycmVjdC1ob3JzZQ=="}})
	require.Equal(t, base.StatusUnauthorized, res.StatusCode, "Basic, with the right password")
}

func TestS3_PasswordThatEndsEndsItsViewers(t *testing.T) {
	t.Parallel()
	for _, transport := range []gortsplib.Transport{gortsplib.TransportTCP, gortsplib.TransportUDP} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.play()
			c, _ := r.client(transport, "main")
			_, err := c.Play(nil)
			require.NoError(t, err)
			eventually(t, "playing", func() bool { return r.stream.Ring.Stats().Readers == 1 })
			waiting := r.raw() // has been let in, does not play yet
			require.Equal(t, base.StatusOK, waiting.login().StatusCode)

			r.refuse.Store(true)
			r.Drop("somebody else")
			more := r.Stats().Frames + 5
			eventually(t, "media to go on", func() bool { return r.Stats().Frames > more })
			r.Drop(user)
			done := make(chan error, 1)
			go func() { done <- c.Wait() }()
			select {
			case err := <-done:
				require.Error(t, err)
			case <-time.After(patience):
				t.Fatal("the viewer still plays")
			}
			eventually(t, "its cursor given back", func() bool { return r.stream.Ring.Stats().Readers == 0 && r.Viewers() == 0 })
			require.Equal(t, base.StatusUnauthorized, waiting.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
		})
	}
}

func TestM2_PathsAndMethods(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	for path, want := range map[string]base.StatusCode{
		"main": 200, "main/": 200, "main?x=1": 200, "": 404, "Main": 404, "main/x": 404, "other": 404, "../main": 404, "main%00": 404,
	} {
		c := r.raw()
		c.address = r.plainURL(path)
		require.Equal(t, want, c.login().StatusCode, path)
	}
	c := r.raw()
	c.play()
	for _, m := range []base.Method{base.Pause, base.Announce, base.Record, base.SetParameter} {
		require.Equal(t, base.StatusNotImplemented, c.do(m, "", nil).StatusCode, m)
	}
	require.Equal(t, base.StatusOK, c.do(base.Options, "", nil).StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.GetParameter, "", nil).StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode, "a second PLAY")
	eventually(t, "one cursor", func() bool { return r.stream.Ring.Stats().Readers == 1 })
}

func TestS3_OneViewerTooMany(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.MaxViewers = 1 })
	r.push(0, time.Now())
	first := r.raw()
	first.play()
	second := r.raw()
	require.Equal(t, base.StatusOK, second.login().StatusCode)
	require.Equal(t, base.StatusServiceUnavailable, second.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
	lines := r.log.FilterMessageSnippet("max_viewers").All()
	require.Len(t, lines, 1)
	require.EqualValues(t, 1, lines[0].ContextMap()["max_viewers"])
	require.EqualValues(t, 1, r.Stats().Refused)
	require.Equal(t, base.StatusOK, first.do(base.Teardown, "", nil).StatusCode)
	eventually(t, "room again", func() bool { return r.Viewers() == 0 })
	require.Equal(t, base.StatusOK, second.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
}

func TestS3_ConnectionsAreCappedAndMayNotIdle(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.MaxConns, c.LoginTimeout = 2, 200*time.Millisecond })
	r.push(0, time.Now())
	playing, idle := r.raw(), r.raw()
	playing.play()
	eventually(t, "both in", func() bool { return r.Stats().Conns == 2 })
	member := r.raw()
	require.Equal(t, base.StatusOK, member.login().StatusCode, "who idles keeps no member out")
	require.True(t, idle.closed(), "it made room")
	require.True(t, r.raw().closed(), "one too many: both others have shown who they are")
	require.True(t, member.closed(), "idle")
	eventually(t, "one left", func() bool { return r.Stats().Conns == 1 })
	require.Equal(t, base.StatusOK, playing.do(base.GetParameter, "", nil).StatusCode, "the one that plays stays")
}

func TestM2_WithoutAKeyFrameIs503(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	start := time.Now()
	require.Equal(t, base.StatusServiceUnavailable, r.raw().login().StatusCode)
	require.GreaterOrEqual(t, time.Since(start), parameterWait)
	require.Equal(t, "main", <-r.asked)
}

func TestM2_DescribeWaitsForTheFirstKeyFrame(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	c := r.raw()
	challenge := c.do(base.Describe, "", nil)
	c.answer(challenge)
	c.write(base.Describe, "", nil)
	require.Equal(t, "main", <-r.asked, "the board is asked while the viewer waits")
	r.push(0, time.Now())
	res, _, err := c.read()
	require.NoError(t, err)
	require.Equal(t, base.StatusOK, res.StatusCode)
}

func TestM2_DescriptionTellsTheStreamAsItIs(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	units := pictures(t)
	sps, _ := units[0].ParameterSets()
	describe := func() string { return string(r.raw().login().Body) }
	require.Contains(t, describe(), "packetization-mode=1")
	require.Contains(t, describe(), strings.ToUpper(hex.EncodeToString(sps[1:4])), "profile-level-id")
	require.NotContains(t, describe(), "m=audio")
	r.stream.SetAudio(&hal.AudioFormat{Codec: hal.PCMA, Rate: 8000, Channels: 1})
	require.Contains(t, describe(), "m=audio 0 RTP/AVP 8")
	r.stream.SetAudio(&hal.AudioFormat{Codec: "mp3", Rate: 8000, Channels: 1})
	require.NotContains(t, describe(), "m=audio", "sound that RTSP has no word for")
	r.stream.SetAudio(nil)

	other := units[0]
	other.Data = append([]byte(nil), other.Data...)
	other.Data[4+3]++ // another level
	before := describe()
	r.stream.PushVideo(other)
	require.NotEqual(t, before, describe())
}

func TestM2_BadConfigurationIsOneClearLine(t *testing.T) {
	t.Parallel()
	taken := newRig(t, nil)
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "host:port"},
		{Config{Address: "nonsense"}, "nonsense"},
		{Config{Address: taken.Addr().String()}, "address already in use"},
		{Config{Address: "127.0.0.1:0", UDP: true, UDPPort: 5001}, "5001 is not an even port"},
		{Config{Address: "127.0.0.1:0", UDP: true, UDPPort: taken.doors.udp.rtp.LocalAddr().(*net.UDPAddr).Port}, "address already in use"},
	} {
		err := New(c.cfg, []*media.Stream{taken.stream}, nil, nil).Run(t.Context())
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
	}
}
