package rtsp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

func TestZZServe(t *testing.T) {
	if os.Getenv("ZZ") == "" {
		return
	}
	st := media.NewStream("main", 4<<20)
	s := New(Config{Address: os.Getenv("ZZ"), MaxViewers: 200}, []*media.Stream{st}, func(string) (string, bool) { return "p", true }, nil)
	go func() { panic(s.Run(t.Context())) }()
	syscall.SetNonblock(0, true)
	in := bufio.NewReaderSize(os.NewFile(0, "stdin"), 64<<10)
	for i := 0; ; i++ {
		var h [4]byte
		if _, err := io.ReadFull(in, h[:]); err != nil {
			os.Exit(0)
		}
		b := make([]byte, binary.BigEndian.Uint32(h[:]))
		io.ReadFull(in, b)
		u, err := hal.ParseAnnexB(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = bytes.Equal
		u.Time, u.Seq = time.Now(), uint64(i)
		st.PushVideo(u)
	}
}
