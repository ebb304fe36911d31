package card

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
)

// camera answers commands from a card in memory.
type camera struct {
	pages  []command.ClipsPage
	files  map[string][]byte // by name and part
	delay  func(n int) time.Duration
	pieces []int
	lie    func(*command.ClipsData)
}

func (c *camera) Call(ctx context.Context, name string, args, result any) error {
	b, err := json.Marshal(args)
	if err != nil {
		return err
	}
	var answer any
	switch name {
	case "clips.list":
		answer, c.pages = c.pages[0], c.pages[1:]
	case "clips.read":
		var p command.ClipsPiece
		if err := json.Unmarshal(b, &p); err != nil {
			return err
		}
		if err := p.Validate(); err != nil {
			return cloud.Refuse(cloud.CodeArgument, "%v", err)
		}
		answer, err = c.read(p)
		if err != nil {
			return err
		}
	}
	if b, err = json.Marshal(answer); err != nil {
		return err
	}
	return json.Unmarshal(b, result)
}

func (c *camera) read(p command.ClipsPiece) (command.ClipsData, error) {
	c.pieces = append(c.pieces, p.Length)
	if c.delay != nil {
		time.Sleep(c.delay(p.Length))
	}
	f, ok := c.files[p.Name+"/"+p.Part]
	if !ok {
		return command.ClipsData{}, cloud.Refuse(cloud.CodeArgument, "clips.read: %s is not on the card", p.Name)
	}
	f = f[min(p.Offset, int64(len(f))):]
	d := command.ClipsData{Data: f[:min(p.Length, len(f))], Size: p.Offset + int64(len(f))}
	if c.lie != nil {
		c.lie(&d)
	}
	return d, nil
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestM10_ClipsComeFromTheCardInPieces(t *testing.T) {
	t.Parallel()
	secret, _, err := seal.NewIdentity()
	require.NoError(t, err)
	cam, err := fakecloud.NewCamera(secret)
	require.NoError(t, err)
	k, err := cam.Clip(start, "main", nil)
	require.NoError(t, err)
	c := &camera{files: map[string][]byte{k.Name + "/clip": k.Sealed, k.Name + "/manifest": []byte(k.Token)}}
	source := New(c)
	source.piece.size = 100
	g := &fetch.Getter{Source: source, Camera: cam.Pinned(), Secret: secret, Stall: 15 * time.Second}
	clip, err := g.Manifest(t.Context(), k.Name)
	require.NoError(t, err)
	var plain bytes.Buffer
	_, err = g.Clip(t.Context(), clip, &plain, t.TempDir()+"/a", "")
	require.NoError(t, err)
	require.Equal(t, k.Plain, plain.Bytes())

	body, err := source.Fetch(t.Context(), api.Download{URL: k.Name + ".mp4.age", Offset: 7})
	require.NoError(t, err)
	rest, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Equal(t, k.Sealed[7:], rest)

	gap, err := cam.Gap(start, "main", cloud.GapOff, nil, nil)
	require.NoError(t, err)
	c.files[gap.Name+"/gap"] = []byte(gap.Token)
	got, _, err := g.Gap(t.Context(), gap.Name)
	require.NoError(t, err)
	require.Equal(t, gap.Gap.Sequence, got.Sequence)

	_, err = g.Manifest(t.Context(), "20260102T030405.000Z-zzzzzzzz")
	require.ErrorContains(t, err, "is not on the card")
	_, err = source.Fetch(t.Context(), api.Download{URL: "20260102T030405.000Z-zzzzzzzz.jpg.age"})
	require.ErrorContains(t, err, "only those")
	c.lie = func(d *command.ClipsData) { d.Data = make([]byte, command.MaxClipsPiece+1) }
	_, err = g.Manifest(t.Context(), k.Name)
	require.ErrorContains(t, err, "at most")
	// A camera that says that there is more, and gives nothing, does not hold us.
	c.lie = func(d *command.ClipsData) { d.Data, d.Size = nil, 1<<40 }
	_, err = g.Manifest(t.Context(), k.Name)
	require.Error(t, err)
}

// A slow way gets small pieces, so that a command behind one does not wait long.
func TestM10_PiecesFitTheWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const name = "20260102T030405.000Z-aaaaaaaa"
		rate := 1 << 20 // bytes a second
		c := &camera{files: map[string][]byte{name + "/clip": make([]byte, 1<<20)},
			delay: func(n int) time.Duration { return time.Duration(n) * time.Second / time.Duration(rate) }}
		source := New(c)
		read := func() {
			body, err := source.Fetch(t.Context(), api.Download{URL: name + ".mp4.age"})
			require.NoError(t, err)
			n, err := io.Copy(io.Discard, body)
			require.NoError(t, err)
			require.EqualValues(t, 1<<20, n)
		}
		read()
		require.Equal(t, command.MaxClipsPiece, c.pieces[len(c.pieces)-2])
		rate = 8 << 10
		read()
		require.LessOrEqual(t, c.pieces[len(c.pieces)-2], rate)
		rate = 1 << 20
		read()
		require.Equal(t, command.MaxClipsPiece, c.pieces[len(c.pieces)-2])
	})
}

func TestM10_ListIsWholeAndOldestFirst(t *testing.T) {
	t.Parallel()
	page := func(more bool, names ...string) (p command.ClipsPage) {
		for _, n := range names {
			p.Clips = append(p.Clips, command.CardClip{Name: "20260102T030405." + n, Size: 7})
		}
		p.More = more
		return p
	}
	c := &camera{pages: []command.ClipsPage{page(true, "003Z-aaaaaaaa", "002Z-aaaaaaaa.jpg.age"), page(true, "002Z-aaaaaaaa"), page(false, "001Z-aaaaaaaa")}}
	list, err := New(c).Clips(t.Context(), time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.True(t, strings.HasSuffix(list[0].Name, ".001Z-aaaaaaaa"))

	c.pages = []command.ClipsPage{page(false, "003Z-aaaaaaaa", "002Z-aaaaaaaa", "001Z-aaaaaaaa")}
	got, err := New(c).Objects(t.Context(), "", api.ObjectQuery{From: start.Add(2 * time.Millisecond), To: start.Add(3 * time.Millisecond)})
	require.NoError(t, err)
	require.Len(t, got.Objects, 2)
	require.Equal(t, "20260102T030405.002Z-aaaaaaaa.jws", got.Objects[0].Name)

	c.pages = []command.ClipsPage{page(true, "003Z-aaaaaaaa"), page(true, "003Z-aaaaaaaa")}
	_, err = New(c).Clips(t.Context(), time.Time{}, time.Time{})
	require.ErrorContains(t, err, "repeats itself")
}
