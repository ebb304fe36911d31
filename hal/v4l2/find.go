package v4l2

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"iid2secure.nl/camagent/hal"
)

// finder knows where the kernel lists its video devices; tests have their own folders.
type finder struct {
	sys   system
	class string // /sys/class/video4linux
	dev   string // /dev
}

// identity is how a USB camera is known again under another number.
type identity struct{ vendor, product, serial, face, index string }

// node is one configured device.
type node struct {
	name  string   // as configured
	want  []fourCC // one of them it must give
	id    identity // zero until it was open, and of devices that are not on USB
	known bool     // it was open before
}

// list names the nodes of all video devices by rising number.
func (f finder) list() []string {
	entries, _ := os.ReadDir(f.class)
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "video") {
			names = append(names, e.Name())
		}
	}
	number := func(s string) int { n, _ := strconv.Atoi(strings.TrimPrefix(s, "video")); return n }
	slices.SortFunc(names, func(a, b string) int { return number(a) - number(b) })
	return names
}

// usbFolder is the device's folder in sysfs, and that of its interface.
func (f finder) usbFolder(name string) (device, face string) {
	face, err := filepath.EvalSymlinks(filepath.Join(f.class, name, "device"))
	if err != nil {
		return "", ""
	}
	return filepath.Dir(face), face
}

func word(parts ...string) string {
	b, _ := os.ReadFile(filepath.Join(parts...))
	return strings.TrimSpace(string(b))
}

// identify tells which camera stands behind a node; zero if it is not on USB.
func (f finder) identify(name string) identity {
	device, face := f.usbFolder(name)
	id := identity{vendor: word(device, "idVendor"), product: word(device, "idProduct"), serial: word(device, "serial")}
	if id.vendor == "" {
		return identity{}
	}
	id.face, id.index = word(face, "bInterfaceNumber"), word(f.class, name, "index")
	return id
}

// uvc reads what the USB descriptors of a node tell.
func (f finder) uvc(path string) uvc {
	device, _ := f.usbFolder(nodeName(path))
	b, _ := os.ReadFile(filepath.Join(device, "descriptors"))
	return parseDescriptors(b)
}

// nodeName is what the kernel calls the node that a path leads to.
func nodeName(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return filepath.Base(path)
}

// usbID takes "usb:VVVV:PPPP" or "usb:VVVV:PPPP:SERIAL" apart.
func usbID(name string) (id identity, ok bool, err error) {
	rest, ok := strings.CutPrefix(name, "usb:")
	if !ok {
		return id, false, nil
	}
	p := strings.SplitN(rest, ":", 3)
	if len(p) < 2 || !hex4(p[0]) || !hex4(p[1]) {
		return id, true, fmt.Errorf("device %q: %w: want usb:VVVV:PPPP, the two numbers of 4 digits that \"lsusb\" shows", name, hal.ErrArgument)
	}
	id.vendor, id.product = strings.ToLower(p[0]), strings.ToLower(p[1])
	if len(p) == 3 {
		id.serial = p[2]
	}
	return id, true, nil
}

func hex4(s string) bool {
	_, err := strconv.ParseUint(s, 16, 16)
	return err == nil && len(s) == 4
}

// open finds the node's camera, wherever it is now, opens it, and checks that it
// gives what is wanted.
func (f finder) open(n *node) (*device, error) {
	id, byID, err := usbID(n.name)
	if err != nil {
		return nil, err
	}
	var d *device
	if byID {
		d, err = f.search(n, func(is identity) bool {
			return is.vendor == id.vendor && is.product == id.product && (id.serial == "" || is.serial == id.serial)
		})
	} else {
		d, err = f.openPath(n)
	}
	switch {
	case err == nil:
		n.id, n.known = f.identify(nodeName(d.path)), true
	case n.known && errors.Is(err, hal.ErrNotFound):
		err = fmt.Errorf("%w: %s was there, and is away", hal.ErrGone, n.name)
	}
	return d, err
}

// openPath opens the configured path, unless another camera has its number now.
func (f finder) openPath(n *node) (*device, error) {
	moved := n.known && n.id != identity{}
	if moved && f.identify(nodeName(n.name)) != n.id {
		return f.search(n, func(is identity) bool { return is == n.id })
	}
	d, err := openDevice(f.sys, n.name)
	if err != nil {
		return nil, err
	}
	if err := f.check(d, n); err != nil {
		return nil, err
	}
	return d, nil
}

// check closes a device that is not what is wanted.
func (f finder) check(d *device, n *node) error {
	err := d.camera()
	if err == nil && !slices.ContainsFunc(n.want, d.offers) {
		err = fmt.Errorf("device %s: %w: is %s, which gives %s, want one that gives %s%s", d.path, hal.ErrArgument, d.card, names(d.formats()), alternatives(n.want), f.hint(n, d))
	}
	if err != nil {
		_ = d.close()
	}
	return err
}

func alternatives(list []fourCC) string {
	var s []string
	for _, f := range list {
		s = append(s, f.String())
	}
	return strings.Join(s, " or ")
}

// hint names a node that would do.
func (f finder) hint(n *node, not *device) string {
	for _, name := range f.list() {
		path := filepath.Join(f.dev, name)
		d, err := openDevice(f.sys, path)
		if err != nil {
			continue
		}
		fits := path != not.path && d.camera() == nil && slices.ContainsFunc(n.want, d.offers)
		_ = d.close()
		if fits {
			return ", such as " + path
		}
	}
	return ""
}

// search opens the first node of a camera on USB that gives what is wanted.
func (f finder) search(n *node, is func(identity) bool) (*device, error) {
	err := fmt.Errorf("%w: no camera %s (\"lsusb\" lists what is plugged in)", hal.ErrNotFound, n.name)
	for _, name := range f.list() {
		if id := f.identify(name); id == (identity{}) || !is(id) {
			continue
		}
		d, e := openDevice(f.sys, filepath.Join(f.dev, name))
		if e == nil {
			if d.camera() != nil { // a node for metadata
				_ = d.close()
				continue
			}
			if e = f.check(d, n); e == nil {
				return d, nil
			}
		}
		err = e
	}
	return nil, err
}
