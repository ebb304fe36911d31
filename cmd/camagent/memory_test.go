package main

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestR6_OnlyConstantMappingsOfTheProgramAreGivenBack(t *testing.T) {
	t.Parallel()
	const text = `00400000-00ad2000 r-xp 00000000 fe:00 9973 /usr/bin/camagent
Rss:                6536 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00ad2000-01203000 r--p 006d2000 fe:00 9973 /usr/bin/camagent
Rss:                6980 kB
Anonymous:             0 kB
01203000-01271000 rw-p 00e03000 fe:00 9973 /usr/bin/camagent
Anonymous:             0 kB
01271000-01272000 r--p 00e71000 fe:00 9973 /usr/bin/camagent
Anonymous:             4 kB
02000000-02001000 r--s 00e71000 fe:00 9973 /usr/bin/camagent
Anonymous:             0 kB
03000000-03001000 r--p 00000000 fe:00 9974 /usr/bin/camagent2
Anonymous:             0 kB
70000000-70001000 r--p 00000000 00:00 0
Anonymous:             0 kB
bffdf000-c0000000 rw-p 00000000 00:00 0                          [stack]
Anonymous:            12 kB
`
	got, err := constants(strings.NewReader(text), "/usr/bin/camagent")
	require.NoError(t, err)
	require.Equal(t, []span{{0x400000, 0xad2000}, {0xad2000, 0x1203000}}, got)

	_, err = constants(strings.NewReader("0040-x r-xp 0 fe:00 9 /usr/bin/camagent\nAnonymous: 0 kB\n"), "/usr/bin/camagent")
	require.Error(t, err)
}

// unmapping is the environment of a child that shows what unmapProgram does.
const unmapping = "CAMAGENT_TEST_UNMAPS"

// A process of its own shows it: others use the pages of this one all the time.
func TestR6_ProgramThatGaveItsPagesBackRunsOn(t *testing.T) {
	t.Parallel()
	if os.Getenv(unmapping) != "" {
		before := rssFile(t)
		for range 3 {
			require.NoError(t, unmapProgram())
		}
		after := rssFile(t)
		require.Less(t, after, before*2/3, "kB of the program in memory")
		return
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	c.Env = append(os.Environ(), unmapping+"=1")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// rssFile is what this process holds of files, in kB.
func rssFile(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssFile:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			require.NoError(t, err)
			return n
		}
	}
	t.Fatal("no RssFile in /proc/self/status")
	return 0
}
