package v4l2

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

// buffers is how many pictures the driver may fill while nobody fetches one.
const buffers = 4

// queue is the memory that the driver fills, mapped, and running.
type queue struct {
	d      *device
	memory [][]byte
}

// frame is one filled buffer. Its data is the driver's again after release.
type frame struct {
	index    uint32
	sequence uint32
	flags    uint32
	stamp    time.Duration // by CLOCK_MONOTONIC, if the flags say so
	data     []byte
}

// startQueue maps buffers and lets the device fill them.
func startQueue(d *device) (*queue, error) {
	q := &queue{d: d}
	r := requestBuffers{Count: buffers, Type: bufCapture, Memory: memoryMmap}
	if err := d.ioctl(calls.reqbufs, unsafe.Pointer(&r)); err != nil {
		return nil, d.fail("asking for buffers", err)
	}
	err := q.mapAll(min(r.Count, 32))
	if err == nil {
		err = q.run()
	}
	if err != nil {
		q.stop()
		return nil, d.fail("starting the stream", err)
	}
	return q, nil
}

func (q *queue) mapAll(count uint32) error {
	for i := range count {
		b := buffer{Index: i, Type: bufCapture, Memory: memoryMmap}
		if err := q.d.ioctl(calls.querybuf, unsafe.Pointer(&b)); err != nil {
			return err
		}
		m, err := q.d.sys.mmap(q.d.fd, int64(b.Offset), int(b.Length))
		if err != nil {
			return err
		}
		q.memory = append(q.memory, m)
	}
	return nil
}

// run gives all buffers to the driver and starts it.
func (q *queue) run() error {
	for i := range q.memory {
		if err := q.release(uint32(i)); err != nil {
			return err
		}
	}
	t := int32(bufCapture)
	return q.d.ioctl(calls.streamOn, unsafe.Pointer(&t))
}

// halt stops the driver; run starts it again.
func (q *queue) halt() error {
	t := int32(bufCapture)
	return q.d.ioctl(calls.streamOff, unsafe.Pointer(&t))
}

// stop gives everything back, as far as the device is still there.
func (q *queue) stop() {
	_ = q.halt()
	for _, m := range q.memory {
		_ = q.d.sys.munmap(m)
	}
	q.memory = nil
	r := requestBuffers{Type: bufCapture, Memory: memoryMmap}
	_ = q.d.ioctl(calls.reqbufs, unsafe.Pointer(&r))
}

// release gives a buffer back to the driver.
func (q *queue) release(index uint32) error {
	b := buffer{Index: index, Type: bufCapture, Memory: memoryMmap}
	return q.d.ioctl(calls.qbuf, unsafe.Pointer(&b))
}

// take returns a filled buffer; false if there is none yet.
func (q *queue) take() (frame, bool, error) {
	b := buffer{Type: bufCapture, Memory: memoryMmap}
	err := q.d.ioctl(calls.dqbuf, unsafe.Pointer(&b))
	switch {
	case errors.Is(err, unix.EAGAIN):
		return frame{}, false, nil
	case err != nil:
		return frame{}, false, q.d.fail("fetching a picture", err)
	case int(b.Index) >= len(q.memory):
		return frame{}, false, q.d.fail("fetching a picture", hal.ErrGarbage)
	}
	m := q.memory[b.Index]
	return frame{
		index: b.Index, sequence: b.Sequence, flags: b.Flags, stamp: b.Timestamp.duration(),
		data: m[:min(int(b.BytesUsed), len(m))],
	}, true, nil
}
