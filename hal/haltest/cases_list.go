package haltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"iid2secure.nl/camagent/hal"
)

func listCases() []Case {
	return []Case{
		{"streams", "Streams lists the streams in order of size, the largest first; the list is the same at every call.",
			"a list built from a map, or defaults outside the stated ranges", 15 * time.Second, streamsListed},
	}
}

func streamsListed(ctx context.Context, s *subject) error {
	o, err := s.board(ctx)
	if err != nil {
		return err
	}
	list := o.board.Streams()
	if len(list) == 0 {
		return errors.New("the list is empty, want one stream at least")
	}
	if again := o.board.Streams(); !slices.Equal(list, again) {
		return fmt.Errorf("the list changed from %+v to %+v", list, again)
	}
	names := map[string]bool{}
	for i, info := range list {
		d := info.Default
		switch {
		case info.Name == "" || names[info.Name]:
			return fmt.Errorf("stream %d is called %q, want a name of its own", i, info.Name)
		case i == 0 && info.Name != "main":
			return fmt.Errorf(`the first stream is called %q, want "main"`, info.Name)
		case i > 0 && d.Width*d.Height > list[0].Default.Width*list[0].Default.Height && list[0].Default.Width > 0:
			return fmt.Errorf("stream %s is larger than the first", info.Name)
		}
		names[info.Name] = true
		for _, f := range fields(&info, &d) {
			if f.has() && (f.Min < 1 || f.Min > f.Max || f.is != 0 && (f.is < f.Min || f.is > f.Max)) {
				return fmt.Errorf("stream %s: %s is %d by default, of %d to %d", info.Name, f.name, f.is, f.Min, f.Max)
			}
		}
	}
	return nil
}

// field is one number of a VideoConfig that has a range.
type field struct {
	name string
	is   int
	hal.Range
}

func (f *field) has() bool { return f.Range != hal.Range{} }

func fields(info *hal.StreamInfo, c *hal.VideoConfig) []field {
	return []field{{"fps", c.FPS, info.FPS}, {"gop", c.GOP, info.GOP}, {"bitrate", c.Bitrate, info.Bitrate}}
}
