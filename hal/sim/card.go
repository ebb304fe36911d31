package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// card is the folder that stands for the memory card. The board's lock guards it.
type card struct {
	dir    string
	pulled bool
	err    error // why it can't be pulled or put back
	retry  time.Duration
}

// away is where the folder is while it is pulled.
func (c *card) away() string { return c.dir + ".pulled" }

// newCard puts back a card that a board before this one left pulled.
func newCard(dir string) card {
	c := card{dir: dir}
	if dir == "" {
		return c
	}
	if _, err := os.Lstat(c.away()); err == nil {
		c.pulled = true
		c.set(false, 0)
	}
	return c
}

// set pulls the card or puts it back; what fails is tried again every second.
func (c *card) set(pulled bool, now time.Duration) {
	if c.dir == "" || pulled == c.pulled || c.err != nil && now < c.retry {
		return
	}
	if pulled {
		c.err = os.Rename(c.dir, c.away())
	} else {
		c.err = c.putBack()
	}
	if c.err != nil {
		c.err = fmt.Errorf("sim board: card: %w", c.err)
		c.retry = now + time.Second
		return
	}
	c.pulled = pulled
}

// putBack returns the folder to its place. What was made there meanwhile is set
// aside, not lost.
func (c *card) putBack() error {
	err := os.Remove(c.dir)
	for i := 1; i <= 100 && err != nil && !errors.Is(err, fs.ErrNotExist); i++ {
		aside := c.dir + ".meanwhile" + strconv.Itoa(i)
		if _, there := os.Lstat(aside); there == nil {
			continue
		}
		err = os.Rename(c.dir, aside)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(c.away(), c.dir)
}
