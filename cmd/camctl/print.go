package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// show prints a result: v as JSON if that was asked for, else what text writes,
// its columns lined up.
func (c *ctl) show(v any, text func(w io.Writer)) error {
	var b bytes.Buffer
	if c.json {
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return err
		}
		_, err := c.out.Write(b.Bytes())
		return err
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	text(w)
	w.Flush()
	_, err := io.WriteString(c.out, printable(b.String()))
	return err
}

// showLine prints one result of many: a line of text, or of JSON.
func (c *ctl) showLine(v any, text string) error {
	if !c.json {
		_, err := fmt.Fprintln(c.out, printable(text))
		return err
	}
	return json.NewEncoder(c.out).Encode(v)
}

// printable keeps what a camera or a cloud says from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, s)
}

// isTerminal tells whether one of our streams is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progress shows on a terminal how far a download is; nil elsewhere. To be
// called with done 0 at the end, which clears the line.
func (c *ctl) progress(name string) func(done, total int64) {
	if !isTerminal(c.err) || c.json {
		return nil
	}
	var last time.Time
	return func(done, total int64) {
		switch {
		case done == 0:
			fmt.Fprint(c.err, "\r\x1b[K")
		case total > 0 && time.Since(last) > 100*time.Millisecond:
			last = time.Now()
			fmt.Fprintf(c.err, "\r%s  %3d %%  %s of %s ", printable(name), 100*done/total, bytesText(done), bytesText(total))
		}
	}
}

// bytesText writes a number of bytes in decimal units.
func bytesText(n int64) string {
	const units = "kMGT"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1000, 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	return fmt.Sprintf("%.3g %cB", v, units[i])
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
