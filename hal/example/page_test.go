package example

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The page that teaches it shows this package as it is.
func TestPageShowsTheExample(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/adding-a-board.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"example.go", "example_test.go"} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```go\n"+string(code)+"```\n") {
			t.Errorf("docs/adding-a-board.md does not show %s as it is", file)
		}
	}
}
