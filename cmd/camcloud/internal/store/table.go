package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"iid2secure.nl/camagent/cloud/durable"
)

// table is a folder with one JSON file a row, and the same rows in memory. The
// caller locks. A row is on disk before it is in memory.
type table[T any] struct {
	dir  string
	rows map[string]T
}

// openTable reads all rows; one that can't be read is an error, for a binding
// that is silently gone would let an older one be replayed.
func openTable[T any](dir string) (*table[T], error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	t := &table[T]{dir: dir, rows: make(map[string]T)}
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue // a temporary file of a write that was cut
		}
		var row T
		if _, err := durable.ReadJSON(filepath.Join(dir, e.Name()), &row); err != nil {
			return nil, err
		}
		t.rows[key] = row
	}
	return t, nil
}

func (t *table[T]) put(key string, row T) error {
	if key == "" || strings.Trim(key, keySymbols) != "" {
		return fmt.Errorf("store: %q can't be a key", key)
	}
	if err := durable.WriteJSON(t.path(key), row); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	t.rows[key] = row
	return nil
}

func (t *table[T]) del(key string) error {
	if err := os.Remove(t.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	delete(t.rows, key)
	return durable.SyncDir(t.dir)
}

// drop removes the rows that which chooses.
func (t *table[T]) drop(which func(T) bool) error {
	var errs []error
	for key, row := range maps.Clone(t.rows) {
		if which(row) {
			errs = append(errs, t.del(key))
		}
	}
	return errors.Join(errs...)
}

func (t *table[T]) path(key string) string { return filepath.Join(t.dir, key+".json") }

// keySymbols may be in keys: serials, client ids, hex.
const keySymbols = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-"
