package api

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write openapi.json anew")

func TestOpenAPIDocumentIsTheCodes(t *testing.T) {
	t.Parallel()
	got, err := OpenAPI()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("openapi.json", got, 0o644))
	}
	want, err := os.ReadFile("openapi.json")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run `go test ./cloud/api -update` and look at the difference")
}

func TestOpenAPIDocumentHoldsTogether(t *testing.T) {
	t.Parallel()
	b, err := OpenAPI()
	require.NoError(t, err)
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(b, &doc))
	ids, count := map[string]bool{}, 0
	for _, op := range Operations() {
		require.False(t, ids[op.ID], "%s twice", op.ID)
		ids[op.ID] = true
		require.NotNil(t, op.Answer, op.ID)
	}
	for _, methods := range doc.Paths {
		count += len(methods)
	}
	require.Equal(t, len(ids), count)
	refs(t, b, func(ref string) { require.Contains(t, doc.Components.Schemas, ref) })
}

// refs calls f for every schema that is referred to.
func refs(t *testing.T, b []byte, f func(string)) {
	t.Helper()
	const prefix = "#/components/schemas/"
	var walk func(any)
	walk = func(v any) {
		switch x := v.(type) {
		case map[string]any:
			if r, ok := x["$ref"].(string); ok {
				f(r[len(prefix):])
			}
			for _, e := range x {
				walk(e)
			}
		case []any:
			for _, e := range x {
				walk(e)
			}
		}
	}
	var v any
	require.NoError(t, json.Unmarshal(b, &v))
	walk(v)
}
