// Bench is `make bench`: it measures what docs/performance.md says, with the
// built programs on this machine, and prints a table. Each figure is also a
// JSON line in --out. It judges by the limits and exits 1 if one is missed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"text/tabwriter"
)

// figure is one measured number. Limit 0 means that it is only told.
type figure struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Limit    float64 `json:"limit"`
	OK       bool    `json:"ok"`
	Baseline float64 `json:"baseline"` // what the same run measured of the baseline; 0: none
}

func atMost(name string, value float64, unit string, limit float64) figure {
	return figure{Name: name, Value: value, Unit: unit, Limit: limit, OK: limit == 0 || value <= limit}
}

func main() {
	bin := flag.String("bin", "bin", "folder of the built programs")
	out := flag.String("out", "", "file for the figures as JSON lines")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	figures, err := measure(ctx, *bin)
	if werr := write(*out, figures); err == nil {
		err = werr
	}
	print(figures)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	for _, f := range figures {
		if !f.OK {
			os.Exit(1)
		}
	}
}

func write(file string, figures []figure) error {
	if file == "" {
		return nil
	}
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
	return nil
}

func print(figures []figure) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "figure\tvalue\tlimit\t")
	for _, f := range figures {
		limit, mark := "", ""
		if f.Limit > 0 {
			limit = fmt.Sprintf("≤ %g %s", f.Limit, f.Unit)
		}
		if !f.OK {
			mark = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%.4g %s\t%s\t%s\n", f.Name, f.Value, f.Unit, limit, mark)
	}
}
