package v4l2

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

const (
	ctrlTypeInteger = 1
	ctrlTypeBoolean = 2
	ctrlTypeMenu    = 3
)

// fakeKernel is a system with cameras that tests script. File descriptors are
// real ones, eventfds, so that waiting for them is real too.
type fakeKernel struct {
	mu    sync.Mutex
	nodes map[string]*fakeNode
	fds   map[int]*fakeNode
	opens int
}

// fakeNode is one device node. Its fields are set before it is used, or with
// the kernel's mu held.
type fakeNode struct {
	card     string
	caps     uint32
	formats  []fourCC
	width    uint32
	height   uint32
	rate     uint32
	controls map[uint32]queryControl
	values   map[uint32]int32
	menus    map[uint32][]uint32
	refuse   map[uintptr]error // by ioctl
	openErr  error
	gone     bool

	format  fourCC
	fd      int
	memory  [][]byte
	free    []uint32 // buffers that the driver has
	filled  []buffer
	running bool
	seq     uint32
	keys    int // forced
	starts  int
	empty   int // times that somebody asked for a picture in vain
}

func newFake(nodes map[string]*fakeNode) *fakeKernel {
	for _, n := range nodes {
		n.values = map[uint32]int32{}
		for id, q := range n.controls {
			n.values[id] = q.Default
		}
		if n.width == 0 {
			n.width, n.height, n.rate = 64, 48, 25
		}
	}
	return &fakeKernel{nodes: nodes, fds: map[int]*fakeNode{}}
}

func h264Node() *fakeNode {
	return &fakeNode{card: "Test camera", caps: capVideoCapture | capStreaming, formats: []fourCC{fmtYUYV, fmtH264}}
}

func (k *fakeKernel) open(path string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.nodes[path]
	switch {
	case n == nil || n.gone:
		return -1, unix.ENOENT
	case n.openErr != nil:
		return -1, n.openErr
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC|unix.EFD_SEMAPHORE)
	if err == nil {
		k.fds[fd] = n
		k.opens++
	}
	return fd, err
}

func (k *fakeKernel) close(fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.fds, fd)
	return unix.Close(fd)
}

func (k *fakeKernel) mmap(fd int, offset int64, length int) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := make([]byte, length)
	k.fds[fd].memory[offset] = m
	return m, nil
}

func (k *fakeKernel) munmap([]byte) error { return nil }

func (k *fakeKernel) ioctl(fd int, number uintptr, arg unsafe.Pointer) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.fds[fd]
	if n == nil {
		return unix.EBADF
	}
	if n.gone {
		return unix.ENODEV
	}
	if err := n.refuse[number]; err != nil {
		return err
	}
	switch number {
	case calls.querycap:
		c := (*capability)(arg)
		copy(c.Card[:], n.card)
		c.Caps, c.DevCaps = n.caps|capDeviceCaps, n.caps
	case calls.enumFmt:
		f := (*fmtDesc)(arg)
		if int(f.Index) >= len(n.formats) {
			return unix.EINVAL
		}
		f.PixelFormat = uint32(n.formats[f.Index])
	case calls.gFmt:
		(*format)(arg).Pix = pixFormat{Width: n.width, Height: n.height, PixelFormat: uint32(n.format)}
	case calls.sFmt, calls.tryFmt:
		p := &(*format)(arg).Pix
		if !slices.Contains(n.formats, fourCC(p.PixelFormat)) {
			p.PixelFormat = uint32(n.formats[0]) // as drivers do
		}
		p.Width, p.Height = n.width, n.height
	case calls.gParm, calls.sParm:
		p := (*streamParm)(arg)
		p.Capability = capTimePerFrame
		if number == calls.sParm && n.running {
			return unix.EBUSY
		} else if number == calls.sParm {
			n.rate = min(p.PerFrame.Den, 30)
		}
		p.PerFrame = fract{1, n.rate}
	case calls.enumIntervals:
		v := (*frameInterval)(arg)
		if v.Index > 1 {
			return unix.EINVAL
		}
		v.Type, v.Min = discrete, fract{1, []uint32{30, 10}[v.Index]}
	case calls.queryCtrl, calls.queryMenu, calls.gCtrl, calls.sCtrl:
		return n.control(number, arg)
	case calls.reqbufs, calls.querybuf, calls.qbuf, calls.dqbuf, calls.streamOn, calls.streamOff:
		return n.queue(fd, number, arg)
	default:
		return unix.ENOTTY
	}
	return nil
}

func (n *fakeNode) control(number uintptr, arg unsafe.Pointer) error {
	id := *(*uint32)(arg)
	q, ok := n.controls[id]
	if !ok {
		return unix.EINVAL
	}
	switch number {
	case calls.queryCtrl:
		q.ID = id
		*(*queryControl)(arg) = q
	case calls.queryMenu:
		if !slices.Contains(n.menus[id], (*queryMenu)(arg).Index) {
			return unix.EINVAL
		}
	case calls.gCtrl:
		(*control)(arg).Value = n.values[id]
	case calls.sCtrl:
		if id == cidForceKey {
			n.keys++
		}
		n.values[id] = (*control)(arg).Value
	}
	return nil
}

func (n *fakeNode) queue(fd int, number uintptr, arg unsafe.Pointer) error {
	switch number {
	case calls.reqbufs:
		n.memory = make([][]byte, (*requestBuffers)(arg).Count)
		n.free, n.filled = nil, nil
	case calls.querybuf:
		b := (*buffer)(arg)
		b.Offset, b.Length = b.Index, 4096
	case calls.qbuf:
		n.free = append(n.free, (*buffer)(arg).Index)
	case calls.dqbuf:
		if len(n.filled) == 0 {
			n.empty++
			return unix.EAGAIN
		}
		var count [8]byte
		_, _ = unix.Read(fd, count[:])
		*(*buffer)(arg) = n.filled[0]
		n.filled = n.filled[1:]
	case calls.streamOn:
		n.running, n.fd, n.seq = true, fd, 0
		n.starts++
	case calls.streamOff:
		n.running, n.free, n.filled = false, nil, nil
	}
	return nil
}

// give fills the next buffer; the sequence counts up by step.
func (k *fakeKernel) give(t *testing.T, path string, data []byte, step, flags uint32) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.nodes[path]
	if !n.running || len(n.free) == 0 {
		t.Errorf("%s: running %v, %d buffers are free", path, n.running, len(n.free))
		return
	}
	n.seq += step
	b := buffer{Index: n.free[0], Sequence: n.seq, Flags: flags, BytesUsed: uint32(copy(n.memory[n.free[0]], data))}
	n.free = n.free[1:]
	n.filled = append(n.filled, b)
	one := binary.NativeEndian.AppendUint64(nil, 1)
	if _, err := unix.Write(n.fd, one); err != nil {
		t.Error(err)
	}
}

// pull takes a device away while it is used.
func (k *fakeKernel) pull(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.nodes[path]
	n.gone = true
	if n.running {
		_, _ = unix.Write(n.fd, binary.NativeEndian.AppendUint64(nil, 1))
	}
}

// waited waits until somebody asks for a picture in vain, and then waits for it.
func (k *fakeKernel) waited(path string, since int) {
	for is := since; is <= since; runtime.Gosched() {
		k.look(func() { is = k.nodes[path].empty })
	}
}

func (k *fakeKernel) look(f func()) { k.mu.Lock(); defer k.mu.Unlock(); f() }

// Frames. The SPS is that of a picture of 64x96, which the driver calls 64x48.
var (
	testSPS = []byte{0x67, 0x42, 0xc0, 0x0a, 0xda, 0x11, 0xb0, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x32, 0x8f, 0x12, 0x2a}
	testPPS = []byte{0x68, 0xce, 0x0f, 0xc8}
)

func annexB(nals ...[]byte) (b []byte) {
	for _, n := range nals {
		b = append(append(b, 0, 0, 0, 1), n...)
	}
	return b
}

func keyFrame() []byte { return annexB(testSPS, testPPS, []byte{0x65, 0x88, 0x80, 0x10}) }
func picture1() []byte { return append(annexB([]byte{0x41, 0x9a, 0x02}), 0, 0, 0) }

// sysfs makes the folders by which the kernel tells which camera is which node.
type sysfs struct{ root string }

func newSysfs(t *testing.T) sysfs { t.Helper(); return sysfs{t.TempDir()} }

func (s sysfs) finder(k system) finder {
	return finder{k, filepath.Join(s.root, "class"), filepath.Join(s.root, "dev")}
}

func (s sysfs) node(name string) string { return filepath.Join(s.root, "dev", name) }

// plug adds a node of a USB camera at a port.
func (s sysfs) plug(t *testing.T, name, port, product, serial string, descriptors []byte) {
	t.Helper()
	device := filepath.Join(s.root, "devices", port)
	face := filepath.Join(device, port+":1.0")
	class := filepath.Join(s.root, "class", name)
	err := errors.Join(os.MkdirAll(face, 0o755), os.MkdirAll(class, 0o755), os.MkdirAll(filepath.Join(s.root, "dev"), 0o755),
		os.WriteFile(filepath.Join(device, "idVendor"), []byte("1209\n"), 0o644),
		os.WriteFile(filepath.Join(device, "idProduct"), []byte(product+"\n"), 0o644),
		os.WriteFile(filepath.Join(device, "serial"), []byte(serial+"\n"), 0o644),
		os.WriteFile(filepath.Join(device, "descriptors"), descriptors, 0o644),
		os.WriteFile(filepath.Join(face, "bInterfaceNumber"), []byte("00\n"), 0o644),
		os.WriteFile(filepath.Join(class, "index"), []byte("0\n"), 0o644),
		os.WriteFile(s.node(name), nil, 0o644),
		os.Symlink(face, filepath.Join(class, "device")))
	if err != nil {
		t.Fatal(err)
	}
}

func (s sysfs) unplug(t *testing.T, name string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(filepath.Join(s.root, "class", name)), os.Remove(s.node(name))); err != nil {
		t.Fatal(err)
	}
}

func fakeBoard(t *testing.T, k *fakeKernel, f finder, c Config) *Board {
	t.Helper()
	b, err := newBoard(c, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		k.look(func() {
			if len(k.fds) > 0 {
				t.Errorf("%d devices were left open", len(k.fds))
			}
			for path, n := range k.nodes {
				if n.running && !n.gone {
					t.Errorf("%s was left running", path)
				}
			}
		})
	})
	return b
}

func mainOf(device string) Config { return Config{Sources: []Source{{Stream: "main", Device: device}}} }

func openFake(t *testing.T, b *Board) hal.VideoStream {
	t.Helper()
	v, err := b.OpenVideo(t.Context(), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// patience is how long tests wait for what ought to come at once.
const patience = 10 * time.Second
