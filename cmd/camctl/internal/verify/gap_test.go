package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

func gap(t testing.TB, cam *fakecloud.Camera, missing []cloud.Span, edit func(*cloud.Gap, *cloud.GapDetails)) fakecloud.Gap {
	t.Helper()
	g, err := cam.Gap(start, "main", cloud.GapRetention, missing, edit)
	require.NoError(t, err)
	return g
}

func TestGap_GenuineIsTaken(t *testing.T) {
	t.Parallel()
	cam := newCamera(t)
	clip(t, cam, nil)
	g := gap(t, cam, []cloud.Span{{From: 1, To: 1}}, nil)
	got, err := cam.Pinned().Gap(g.Name, g.Token+"\n")
	require.NoError(t, err)
	require.Equal(t, g.Gap, got.Gap)
	require.Equal(t, seal.Hash(g.Token), got.Hash)
	d, err := got.Details(cam.Secret)
	require.NoError(t, err)
	require.Equal(t, "b", d.Boot)
	_, err = got.Details(newCamera(t).Secret)
	refused(t, err, "sealed to others")
}

func TestS10_GapOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit func(*cloud.Gap, *cloud.GapDetails)
		want string
	}{
		"version":   {func(g *cloud.Gap, _ *cloud.GapDetails) { g.V = 2 }, "version 2"},
		"serial":    {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Serial = cloud.NewSerial() }, "of camera"},
		"epoch":     {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Epoch = 2 }, "another binding"},
		"bind id":   {func(g *cloud.Gap, _ *cloud.GapDetails) { g.BindID = "00" }, "another binding"},
		"name":      {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Name = "20260102T030405.000Z-zzzzzzzz" }, "another clip"},
		"stream":    {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Stream = "" }, "no stream"},
		"sequence":  {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Sequence = 0 }, "sequence"},
		"hash":      {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Prev = "x" }, "SHA-256"},
		"reason":    {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Reason = "luck" }, "no reason"},
		"zero":      {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Missing = []cloud.Span{{From: 0, To: 1}} }, "numbers 0 to 1"},
		"backwards": {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Missing = []cloud.Span{{From: 2, To: 1}} }, "numbers 2 to 1"},
		"to come":   {func(g *cloud.Gap, _ *cloud.GapDetails) { g.Missing = []cloud.Span{{From: 1, To: 2}} }, "below its own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cam := newCamera(t)
			clip(t, cam, nil)
			g := gap(t, cam, nil, tt.edit)
			_, err := cam.Pinned().Gap(g.Name, g.Token)
			refused(t, err, tt.want)
		})
	}
	cam, thief := newCamera(t), newCamera(t)
	g := gap(t, cam, nil, nil)
	pinned := cam.Pinned()
	pinned.Signing = thief.Pinned().Signing
	_, err := pinned.Gap(g.Name, g.Token)
	refused(t, err, "not by the expected key")
	_, err = cam.Pinned().Manifest(g.Name, g.Token)
	refused(t, err, "typ is not")
	k := clip(t, cam, nil)
	_, err = cam.Pinned().Gap(k.Name, k.Token)
	refused(t, err, "typ is not")
}

func gone(n uint64, reason cloud.GapReason, spans ...cloud.Span) verify.Gap {
	r := good("main", n)
	return verify.Gap{Gap: cloud.Gap{Stream: "main", Sequence: n, Prev: r.Prev, Reason: reason, Missing: spans}, Hash: r.Hash}
}

func TestChain_GapsTellWhatIsMissing(t *testing.T) {
	t.Parallel()
	var c verify.Chain
	for _, n := range []uint64{1, 9, 15} {
		require.Empty(t, c.Add(good("main", n)))
	}
	require.Empty(t, c.AddGap(gone(10, cloud.GapRetention, cloud.Span{From: 3, To: 5}, cloud.Span{From: 6, To: 7}, cloud.Span{From: 9, To: 9})))
	require.Empty(t, c.AddGap(gone(16, cloud.GapCut, cloud.Span{From: 12, To: 12})))
	require.Empty(t, c.AddGap(gone(17, cloud.GapOff)))
	left, told := c.Missing()
	require.Equal(t, []verify.Missing{{Stream: "main", From: 2, To: 2}, {Stream: "main", From: 8, To: 8}, {Stream: "main", From: 11, To: 11}, {Stream: "main", From: 13, To: 14}}, left)
	require.Equal(t, []verify.Told{
		{Missing: verify.Missing{Stream: "main", From: 3, To: 7}, Reason: cloud.GapRetention},
		{Missing: verify.Missing{Stream: "main", From: 12, To: 12}, Reason: cloud.GapCut},
	}, told)
	require.Equal(t, "main: clips 3 to 7: given up for newer ones before the store had them: the limits of the card", told[0].String())
	require.Equal(t, "main: clip 12: lost when the power was cut", told[1].String())
	first, last := c.Ends("main")
	require.Equal(t, []uint64{1, 17}, []uint64{first, last})
	require.Equal(t, "h17", c.Hash("main", 17))

	require.Equal(t, []string{"main: two different clips have the number 15"},
		c.AddGap(verify.Gap{Gap: cloud.Gap{Stream: "main", Sequence: 15}, Hash: "other"}))
}

// What gaps tell may overlap, be told twice, or be the whole of what is missing.
func TestChain_OverlappingGaps(t *testing.T) {
	t.Parallel()
	for i, tt := range []struct {
		spans []cloud.Span
		want  []verify.Missing
	}{
		{[]cloud.Span{{From: 1, To: 4}, {From: 1, To: 9}}, nil},
		{[]cloud.Span{{From: 3, To: 9}, {From: 1, To: 3}}, nil},
		{[]cloud.Span{{From: 5, To: 5}, {From: 2, To: 7}}, []verify.Missing{{Stream: "main", From: 1, To: 1}, {Stream: "main", From: 8, To: 9}}},
		{nil, []verify.Missing{{Stream: "main", From: 1, To: 9}}},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			var c verify.Chain
			require.Empty(t, c.AddGap(gone(10, cloud.GapRetention, tt.spans...)))
			left, _ := c.Missing()
			require.Equal(t, tt.want, left)
		})
	}
}

func FuzzS5_Gap(f *testing.F) {
	cam := newCamera(f)
	k := gap(f, cam, nil, nil)
	f.Add(k.Name, k.Token)
	f.Add(k.Name, "")
	f.Add("", "a.b.c")
	f.Add(k.Name, k.Token[:len(k.Token)-4])
	pinned := cam.Pinned()
	f.Fuzz(func(t *testing.T, name, token string) {
		g, err := pinned.Gap(name, token)
		if err == nil && (g.Name != name || !verify.Name(name) || strings.TrimSpace(token) != k.Token) {
			t.Errorf("%q was taken as the gap %q", token, name)
		}
	})
}

// S10, R2: what the card no longer held is missing, although the camera says so: it
// has not given it up. A gap that tells of it as given up explains it, whoever comes first.
func TestS10_R2_LostClipsAreMissing(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	k := s.clips(4)
	s.remove(k[1])
	s.remove(k[2])
	s.gap(cloud.GapLost, cloud.Span{From: 1, To: 2})
	r := s.check(func(c *verify.Check) { c.Partial = true })
	require.Equal(t, []string{"missing 2-3"}, faults(r))
	require.Contains(t, strings.Join(r.Notes, "\n"), "main: clip 2 is missing: the card no longer held it when the camera looked")
	require.Empty(t, r.GivenUp)
	require.False(t, r.Good)

	s.gap(cloud.GapRetention, cloud.Span{From: 2, To: 3})
	r = s.check(func(c *verify.Check) { c.Partial = true })
	require.Empty(t, r.Faults)
	require.Len(t, r.GivenUp, 1)
	require.NotContains(t, strings.Join(r.Notes, "\n"), "no longer held")
}
