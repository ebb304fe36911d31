package hal

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"slices"
	"sync"
	"time"
)

// stillByPicture makes snapshots of raw pictures.
type stillByPicture struct{ g Grabber }

const stillQuality = 85

// Snapshot is Snapshotter's.
func (s stillByPicture) Snapshot(ctx context.Context) ([]byte, error) {
	p, err := s.g.Grab(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, p, &jpeg.Options{Quality: stillQuality}); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return b.Bytes(), nil
}

// The grid on which pictures are compared.
const (
	gridColumns = 32
	gridRows    = 18
	gridCells   = gridColumns * gridRows
)

type grid [gridCells]float32

// motionByPicture finds motion in the differences of raw pictures, five a
// second, as long as somebody waits for it.
type motionByPicture struct {
	g      Grabber
	events *motionEvents

	mu      sync.Mutex
	config  MotionConfig
	readers int       // that wait now
	settles time.Time // until then the picture changes because we changed it

	// Of run's goroutine:
	scene *grid // what stands still; nil: not known yet
}

func newMotionByPicture(g Grabber, closed <-chan struct{}) *motionByPicture {
	return &motionByPicture{g: g, events: newMotionEvents(closed), config: MotionConfig{Sensitivity: 50}}
}

// MotionZones is MotionDetector's.
func (m *motionByPicture) MotionZones() bool { return true }

// SetMotion is MotionDetector's.
func (m *motionByPicture) SetMotion(c MotionConfig) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config = MotionConfig{c.Sensitivity, slices.Clone(c.Zones)}
	return nil
}

// NextMotion is MotionDetector's.
func (m *motionByPicture) NextMotion(ctx context.Context) (MotionEvent, error) {
	m.wait(1)
	defer m.wait(-1)
	return m.events.next(ctx)
}

func (m *motionByPicture) wait(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readers += n
}

// disturbed tells that the picture changes now, and that it is no motion.
func (m *motionByPicture) disturbed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settles = time.Now().Add(sceneSettles)
}

func (m *motionByPicture) now() (c MotionConfig, wanted, settled bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.config, m.readers > 0, time.Now().After(m.settles)
}

// run looks at pictures until ctx ends or there are none.
func (m *motionByPicture) run(ctx context.Context) error {
	defer func() { m.events.calm(time.Now()) }()
	m.scene = nil
	tick := time.NewTicker(motionLooks)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		config, wanted, settled := m.now()
		if !wanted {
			continue
		}
		p, err := m.g.Grab(ctx)
		if err != nil {
			return fmt.Errorf("motion: %w", err)
		}
		if !settled {
			m.scene = nil
		}
		m.events.look(time.Now(), m.moves(gridOf(p), &config))
	}
}

// gridOf is the mean luma of each cell.
func gridOf(p *image.YCbCr) *grid {
	const step = 2 // every second pixel tells enough
	var g grid
	w, h := p.Rect.Dx(), p.Rect.Dy()
	for row := range gridRows {
		for column := range gridColumns {
			sum, n := 0, 0
			for y := h * row / gridRows; y < h*(row+1)/gridRows; y += step {
				line := p.Y[y*p.YStride:]
				for x := w * column / gridColumns; x < w*(column+1)/gridColumns; x += step {
					sum += int(line[x])
					n++
				}
			}
			if n > 0 {
				g[row*gridColumns+column] = float32(sum) / float32(n)
			}
		}
	}
	return &g
}

// How quickly what stands still becomes scene, and when the whole scene changed.
const (
	sceneSlow    = 8   // looks
	sceneChange  = 0.6 // of all cells: a lamp, or the night
	sceneSettles = 2 * time.Second
)

// moves compares a picture with the scene, and then learns it.
func (m *motionByPicture) moves(now *grid, c *MotionConfig) bool {
	if m.scene == nil {
		m.scene = now
		return false
	}
	brighter := medianDifference(now, m.scene)
	hot, watched, all := 0, 0, 0
	limit := c.contrast()
	for i := range now {
		differs := math.Abs(float64(now[i]-m.scene[i]-brighter)) > limit
		if differs {
			all++
		}
		if c.watches(i) {
			watched++
			if differs {
				hot++
			}
		}
		m.scene[i] += (now[i] - m.scene[i]) / sceneSlow
	}
	if float64(all) > sceneChange*gridCells {
		m.scene = now
		return false
	}
	return watched > 0 && hot >= c.area(watched)
}

// medianDifference is how much brighter all of a picture became.
func medianDifference(a, b *grid) float32 {
	var d grid
	for i := range d {
		d[i] = a[i] - b[i]
	}
	slices.Sort(d[:])
	return d[gridCells/2]
}

// contrast is by how many steps of luma, of 256, a cell must differ: 4 for a
// moth, 24 for a lorry.
func (c *MotionConfig) contrast() float64 { return 4 + 0.2*float64(100-c.Sensitivity) }

// area is how many cells must differ: one for a moth, a tenth of the picture for
// a lorry; in a small zone half of it.
func (c *MotionConfig) area(watched int) int {
	dull := float64(100-c.Sensitivity) / 100
	return max(1, min(int(0.1*dull*dull*dull*gridCells), (watched+1)/2))
}

// watches tells whether the middle of a cell lies in a zone, or that of a small
// zone in the cell.
func (c *MotionConfig) watches(cell int) bool {
	own := Zone{cell % gridColumns * 1000 / gridColumns, cell / gridColumns * 1000 / gridRows, 1000 / gridColumns, 1000 / gridRows}
	for _, z := range c.Zones {
		if z.holds(own.middle()) || own.holds(z.middle()) {
			return true
		}
	}
	return len(c.Zones) == 0
}

func (z Zone) middle() (x, y int) { return z.X + z.Width/2, z.Y + z.Height/2 }

func (z Zone) holds(x, y int) bool {
	return x >= z.X && x <= z.X+z.Width && y >= z.Y && y <= z.Y+z.Height
}
