package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// figure is one measured number. Without a limit it is only told. A figure with
// a baseline is judged by its ratio to it if there is a limit for that.
type figure struct {
	Name       string   `json:"name"`
	Value      float64  `json:"value"`
	Unit       string   `json:"unit"`
	Limit      *float64 `json:"limit"` // at most; null: none
	OK         bool     `json:"ok"`
	Baseline   *float64 `json:"baseline"` // the same of the Go floor, in the same minutes
	Ratio      *float64 `json:"ratio"`    // value to baseline
	RatioLimit *float64 `json:"ratio_limit"`
}

// told is a figure that nobody set a limit for.
func told(name string, value float64, unit string) figure {
	return figure{Name: name, Value: value, Unit: unit, OK: true}
}

func atMost(name string, value float64, unit string, limit float64) figure {
	return figure{Name: name, Value: value, Unit: unit, Limit: &limit, OK: value <= limit}
}

// atLeast is a figure of which more is better; its limit is printed as it is.
func atLeast(name string, value float64, unit string, limit float64) figure {
	return figure{Name: fmt.Sprintf("%s (at least %g)", name, limit), Value: value, Unit: unit, OK: value >= limit}
}

// against adds what the baseline has, and the largest ratio to it; 0: any.
func (f figure) against(baseline, most float64) figure {
	f.Baseline = &baseline
	if baseline > 0 {
		ratio := f.Value / baseline
		f.Ratio = &ratio
	}
	if most > 0 {
		f.RatioLimit = &most
		f.OK = f.OK && f.Ratio != nil && *f.Ratio <= most
	}
	return f
}

// report writes the figures as JSON lines to file, if there is one, and as a
// table to w; it tells whether all are within their limits.
func report(w io.Writer, file string, figures []figure) (ok bool, err error) {
	if file != "" {
		err = writeLines(file, figures)
	}
	table(w, figures)
	return !slices.ContainsFunc(figures, func(f figure) bool { return !f.OK }), err
}

func writeLines(file string, figures []figure) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	for _, fig := range figures {
		if err := enc.Encode(fig); err != nil {
			return err
		}
	}
	return f.Close()
}

func table(to io.Writer, figures []figure) {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "figure\tvalue\tlimit\tfloor\tratio\tlimit\t")
	for _, f := range figures {
		mark := ""
		if !f.OK {
			mark = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%.4g %s\t%s\t%s\t%s\t%s\t%s\n", f.Name, f.Value, f.Unit,
			cell("≤ %g", f.Limit), cell("%.4g", f.Baseline), cell("%.2f", f.Ratio), cell("≤ %g", f.RatioLimit), mark)
	}
}

func cell(format string, v *float64) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf(format, *v)
}

// quantile is the value below which a share q of v lies; 0 of nothing.
func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

// median is the middle value, of an even number the mean of both.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}
