package s3dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// version is that of tools/go.mod; it only names the cached file.
const version = "v1.7.0"

// Binary returns the path of versitygw: the environment's VERSITYGW, or one
// built from the module in tools/ into the user's cache, once.
func Binary(ctx context.Context) (string, error) {
	if bin := os.Getenv("VERSITYGW"); bin != "" {
		if _, err := os.Stat(bin); err != nil {
			return "", fmt.Errorf("VERSITYGW: %w", err)
		}
		return bin, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("s3 server: no cache folder: %w", err)
	}
	dir := filepath.Join(cache, "camagent-test")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("s3 server: %w", err)
	}
	bin := filepath.Join(dir, "versitygw-"+version)
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	return bin, build(ctx, bin)
}

// build compiles the server; other processes that want it wait, and find it.
func build(ctx context.Context, bin string) error {
	lock, err := os.OpenFile(bin+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("s3 server: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("s3 server: lock: %w", err)
	}
	if _, err := os.Stat(bin); err == nil {
		return nil
	}
	tools, err := toolsDir()
	if err != nil {
		return err
	}
	tmp := bin + ".new"
	cmd := exec.CommandContext(ctx, "go", "build", "-C", tools, "-o", tmp, "github.com/versity/versitygw/cmd/versitygw")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the s3 server: %w: %.500s", err, out)
	}
	return os.Rename(tmp, bin)
}

// toolsDir finds tools/ of the repository that the working folder lies in.
func toolsDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tools", "go.mod")); err == nil {
			return filepath.Join(dir, "tools"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("s3 server: no tools/go.mod above the working folder; set VERSITYGW to a versitygw binary")
		}
	}
}
