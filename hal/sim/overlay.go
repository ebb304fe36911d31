package sim

import (
	"image"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// clockLayout is what the clock shows: UTC with milliseconds.
const clockLayout = "2006-01-02 15:04:05.000 UTC"

// A character cell is 6 by 9 dots, of which 5 by 7 are the glyph's.
const cellW, cellH = 6, 9

// clock writes the time on the dark box at the top left.
type clock struct {
	shown [len(clockLayout)]byte
	buf   [64]byte
}

// dot is the size of a dot in pixels.
func dot(h int) int { return max(1, (h+120)/240) }

// overlayRect is the place of clock and title, on whole macroblocks.
func overlayRect(w, h int) image.Rectangle {
	d := dot(h)
	r := image.Rect(16, 16, 16+(len(clockLayout)*cellW+4)*d, 16+(2*cellH+3)*d)
	r.Max.X, r.Max.Y = min((r.Max.X+15)&^15, w), (r.Max.Y+15)&^15
	return r
}

// darker is the luma of a box behind text.
func darker(v byte) byte { return byte((int(v)*2 + 3*stillMin) / 5) }

// box darkens what lies under text, and keeps it free of all else.
//
//go:norace
func (p *painter) box(r image.Rectangle) {
	p.fix(r)
	stride := p.pic.Stride()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			v := &p.pic.Y[y*stride+x]
			*v = darker(*v)
			c := y/2*stride/2 + x/2
			if y&1 == 0 && x&1 == 0 {
				p.pic.Cb[c], p.pic.Cr[c] = byte((int(p.pic.Cb[c])+128)/2), byte((int(p.pic.Cr[c])+128)/2)
			}
		}
	}
}

// cornerNames are the corners in the order of view.texts.
var cornerNames = [4]hal.Corner{hal.TopLeft, hal.TopRight, hal.BottomLeft, hal.BottomRight}

// textRect is the place of a text of n characters in a corner, and the size of
// its dots: below clock and lamp, or above the strip, each in a row of its own.
func textRect(corner, n, w, h int) (image.Rectangle, int) {
	d := min(dot(h), max(1, (w-48)/(n*cellW+4)))
	high := ((cellH+3)*d + 15) &^ 15
	wide := min(((n*cellW+4)*d+15)&^15, (w-32)&^15)
	at := image.Pt(16, overlayRect(w, h).Max.Y+16)
	if corner&1 != 0 { // right
		at.X = (w-16)&^15 - wide
		at.Y += high
	}
	if corner&2 != 0 { // bottom
		at.Y = stripCell(0, w, h).Min.Y - 16 - high - (corner&1)*high
	}
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(wide, high))}, d
}

// label draws the boxes, the title, and the texts in the corners.
func (p *painter) label() {
	w, h := p.pic.W, p.pic.H
	r := overlayRect(w, h)
	p.box(r)
	d := dot(h)
	p.text(p.title, image.Pt(r.Min.X+2*d, r.Min.Y+(2+cellH)*d), min(r.Max.X, r.Min.X+(2+len(clockLayout)*cellW)*d), d)
	for i, t := range p.view.texts {
		if t != "" {
			r, d := textRect(i, len(t), w, h)
			p.box(r)
			p.text(t, r.Min.Add(image.Pt(2*d, 2*d)), r.Max.X, d)
		}
	}
	p.clock.shown = [len(clockLayout)]byte{}
}

// text writes as much of s as fits up to end.
func (p *painter) text(s string, at image.Point, end, d int) {
	for i := 0; i < len(s) && at.X+cellW*d <= end; i++ {
		write(p.pic, s[i], at.X, at.Y, d)
		at.X += cellW * d
	}
}

// show updates the characters of the clock that changed.
func (o *clock) show(p *painter, t time.Time) {
	text := t.AppendFormat(o.buf[:0], clockLayout)
	d := dot(p.pic.H)
	r := overlayRect(p.pic.W, p.pic.H)
	for i := range min(len(text), len(o.shown)) {
		if text[i] == o.shown[i] {
			continue
		}
		o.shown[i] = text[i]
		x, y := r.Min.X+(2+i*cellW)*d, r.Min.Y+2*d
		cell := image.Rect(x, y, x+cellW*d, y+cellH*d).Intersect(r)
		p.wipe(cell)
		write(p.pic, text[i], x, y, d)
		p.changed(cell)
	}
}

// wipe puts the box's background back.
//
//go:norace
func (p *painter) wipe(r image.Rectangle) {
	stride := p.pic.Stride()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := p.pic.Y[y*stride+r.Min.X : y*stride+r.Max.X]
		p.lens.row(row, p.back.still, r.Min.X, y)
		for i, v := range row {
			row[i] = darker(v)
		}
	}
}

// write draws one character in dots of d pixels.
//
//go:norace
func write(p *h264.Picture, c byte, x, y, d int) {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	if c >= '{' {
		c -= '{' - 'a' // behind the letters, which have no small forms
	}
	if c < ' ' || int(c-' ') >= len(font) {
		c = '?'
	}
	g := font[c-' ']
	stride := p.Stride()
	for dy := range 7 * d {
		row := g[dy/d]
		for dx := range 5 * d {
			if row>>(4-dx/d)&1 != 0 && x+dx < p.W {
				p.Y[(y+dy)*stride+x+dx] = 226
			}
		}
	}
}

// font holds the characters from space to `, and then { | } ~, 7 rows of 5 dots each.
var font = ['a' - ' ' + 4][7]uint8{
	'"' - ' ': {10, 10, 10, 0, 0, 0, 0}, '$' - ' ': {4, 15, 20, 14, 5, 30, 4}, '%' - ' ': {24, 25, 2, 4, 8, 19, 3},
	'*' - ' ': {0, 4, 21, 14, 21, 4, 0}, ';' - ' ': {0, 4, 4, 0, 4, 4, 8}, '<' - ' ': {2, 4, 8, 16, 8, 4, 2},
	'>' - ' ': {8, 4, 2, 1, 2, 4, 8}, '@' - ' ': {14, 17, 1, 13, 21, 21, 14}, '[' - ' ': {14, 8, 8, 8, 8, 8, 14},
	'\\' - ' ': {0, 16, 8, 4, 2, 1, 0}, ']' - ' ': {14, 2, 2, 2, 2, 2, 14}, '^' - ' ': {4, 10, 17, 0, 0, 0, 0},
	'_' - ' ': {0, 0, 0, 0, 0, 0, 31}, '`' - ' ': {8, 4, 2, 0, 0, 0, 0},
	'a' - ' ': {2, 4, 4, 8, 4, 4, 2}, 'b' - ' ': {4, 4, 4, 4, 4, 4, 4}, 'c' - ' ': {8, 4, 4, 2, 4, 4, 8}, 'd' - ' ': {0, 0, 8, 21, 2, 0, 0},
	'!' - ' ': {4, 4, 4, 4, 4, 0, 4}, '#' - ' ': {10, 10, 31, 10, 31, 10, 10}, '&' - ' ': {12, 18, 20, 8, 21, 18, 13},
	'\'' - ' ': {4, 4, 8, 0, 0, 0, 0}, '(' - ' ': {2, 4, 8, 8, 8, 4, 2}, ')' - ' ': {8, 4, 2, 2, 2, 4, 8},
	'+' - ' ': {0, 4, 4, 31, 4, 4, 0}, ',' - ' ': {0, 0, 0, 0, 4, 4, 8}, '-' - ' ': {0, 0, 0, 31, 0, 0, 0},
	'.' - ' ': {0, 0, 0, 0, 0, 4, 4}, '/' - ' ': {0, 1, 2, 4, 8, 16, 0}, '?' - ' ': {14, 17, 1, 2, 4, 0, 4},
	':' - ' ': {0, 4, 4, 0, 4, 4, 0}, '=' - ' ': {0, 0, 31, 0, 31, 0, 0},
	'0' - ' ': {14, 17, 19, 21, 25, 17, 14}, '1' - ' ': {4, 12, 4, 4, 4, 4, 14}, '2' - ' ': {14, 17, 1, 2, 4, 8, 31},
	'3' - ' ': {31, 2, 4, 2, 1, 17, 14}, '4' - ' ': {2, 6, 10, 18, 31, 2, 2}, '5' - ' ': {31, 16, 30, 1, 1, 17, 14},
	'6' - ' ': {6, 8, 16, 30, 17, 17, 14}, '7' - ' ': {31, 1, 2, 4, 8, 8, 8}, '8' - ' ': {14, 17, 17, 14, 17, 17, 14},
	'9' - ' ': {14, 17, 17, 15, 1, 2, 12},
	'A' - ' ': {14, 17, 17, 17, 31, 17, 17}, 'B' - ' ': {30, 17, 17, 30, 17, 17, 30}, 'C' - ' ': {14, 17, 16, 16, 16, 17, 14},
	'D' - ' ': {28, 18, 17, 17, 17, 18, 28}, 'E' - ' ': {31, 16, 16, 30, 16, 16, 31}, 'F' - ' ': {31, 16, 16, 30, 16, 16, 16},
	'G' - ' ': {14, 17, 16, 23, 17, 17, 15}, 'H' - ' ': {17, 17, 17, 31, 17, 17, 17}, 'I' - ' ': {14, 4, 4, 4, 4, 4, 14},
	'J' - ' ': {7, 2, 2, 2, 2, 18, 12}, 'K' - ' ': {17, 18, 20, 24, 20, 18, 17}, 'L' - ' ': {16, 16, 16, 16, 16, 16, 31},
	'M' - ' ': {17, 27, 21, 21, 17, 17, 17}, 'N' - ' ': {17, 17, 25, 21, 19, 17, 17}, 'O' - ' ': {14, 17, 17, 17, 17, 17, 14},
	'P' - ' ': {30, 17, 17, 30, 16, 16, 16}, 'Q' - ' ': {14, 17, 17, 17, 21, 18, 13}, 'R' - ' ': {30, 17, 17, 30, 20, 18, 17},
	'S' - ' ': {15, 16, 16, 14, 1, 1, 30}, 'T' - ' ': {31, 4, 4, 4, 4, 4, 4}, 'U' - ' ': {17, 17, 17, 17, 17, 17, 14},
	'V' - ' ': {17, 17, 17, 17, 17, 10, 4}, 'W' - ' ': {17, 17, 17, 21, 21, 21, 10}, 'X' - ' ': {17, 17, 10, 4, 10, 17, 17},
	'Y' - ' ': {17, 17, 17, 10, 4, 4, 4}, 'Z' - ' ': {31, 1, 2, 4, 8, 16, 31},
}
