package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func camcloud(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = execute(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestAccountCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code, token, _ := camcloud(t, "account", "add", "anna", "--dir", dir)
	require.Equal(t, exitDone, code)
	require.Regexp(t, `^acc-[a-z2-7]{32}\n$`, token)
	code, out, errs := camcloud(t, "account", "add", "anna", "--dir", dir)
	require.Equal(t, exitFailed, code)
	require.Empty(t, out)
	require.Equal(t, "camcloud: account \"anna\": account exists\n", errs)
	_, out, _ = camcloud(t, "account", "list", "--dir", dir)
	require.Equal(t, "anna\n", out)
	code, _, _ = camcloud(t, "account", "remove", "anna", "--dir", dir)
	require.Equal(t, exitDone, code)
	code, _, errs = camcloud(t, "account", "remove", "anna", "--dir", dir)
	require.Equal(t, exitFailed, code)
	require.Equal(t, "camcloud: account \"anna\": no such account\n", errs)
}

func TestWrongUsageIsExitTwo(t *testing.T) {
	t.Parallel()
	yaml := filepath.Join(t.TempDir(), "camcloud.yaml")
	require.NoError(t, os.WriteFile(yaml, []byte("dri: x\n"), 0o600))
	for _, args := range [][]string{
		{"walk"}, {"run", "--nonsense"}, {"run", "extra"}, {"account", "add"}, {"run", "--mqtt.address", "x"}, {"run", "--config", yaml},
	} {
		code, out, errs := camcloud(t, args...)
		require.Equal(t, exitUsage, code, "%q: %s", args, errs)
		require.Empty(t, out, args)
		require.NotEmpty(t, errs, args)
	}
	code, _, errs := camcloud(t, "run", "--config", "/none.yaml")
	require.Equal(t, exitFailed, code)
	require.Equal(t, 1, strings.Count(errs, "\n"))
}

func TestVersion(t *testing.T) {
	t.Parallel()
	code, out, _ := camcloud(t, "version")
	require.Equal(t, exitDone, code)
	require.True(t, strings.HasPrefix(out, "camcloud "))
}
