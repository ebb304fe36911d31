package main

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/identity"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"camctl": main})
}

// TestScripts runs the transcripts: each is a person at a shell, without any server.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("CAMCTL_CONFIG", env.WorkDir+"/config")
			env.Setenv("CAMCTL_LAN", "off")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"oneline":   oneLine,
			"mode":      fileMode,
			"qrtext":    qrText,
			"code":      codeText,
			"blank":     blankPicture,
			"addcamera": addCamera,
		},
	})
}

// oneLine checks that standard error of the last command is one line of camctl.
func oneLine(ts *testscript.TestScript, neg bool, _ []string) {
	text := ts.ReadFile("stderr")
	lines := 0
	for _, r := range text {
		if r == '\n' {
			lines++
		}
	}
	if ok := lines == 1 && len(text) > 8 && text[:8] == "camctl: "; ok == neg {
		ts.Fatalf("stderr is not one line of camctl: %q", text)
	}
}

// fileMode checks the permission bits of files: mode 600 FILE…
func fileMode(ts *testscript.TestScript, _ bool, args []string) {
	for _, path := range args[1:] {
		info, err := os.Stat(ts.MkAbs(path))
		ts.Check(err)
		if got := octal(info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s: mode %s, want %s", path, got, args[0])
		}
	}
}

func octal(m os.FileMode) string {
	return string([]byte{'0' + byte(m>>6&7), '0' + byte(m>>3&7), '0' + byte(m&7)})
}

// qrText writes what a provisioned camera shows: qrtext STATE_DIR FILE.
func qrText(ts *testscript.TestScript, _ bool, args []string) {
	id, err := identity.Load(ts.MkAbs(args[0]) + "/identity")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(identity.QRText(id).Reveal()+"\n"), 0o600))
	ts.Setenv("QR", identity.QRText(id).Reveal())
	ts.Setenv("SERIAL", id.Serial.Plain())
}

// codeText puts the verification code into the environment: code STATE_DIR.
func codeText(ts *testscript.TestScript, _ bool, args []string) {
	id, err := identity.Load(ts.MkAbs(args[0]) + "/identity")
	ts.Check(err)
	ts.Setenv("CODE", id.Code.Reveal())
}

// blankPicture makes a grey PNG without any QR: blank FILE.
func blankPicture(ts *testscript.TestScript, _ bool, args []string) {
	img := image.NewGray(image.Rect(0, 0, 300, 200))
	for i := range img.Pix {
		img.Pix[i] = color.Gray{Y: uint8(i)}.Y
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(png.Encode(f, img))
	ts.Check(f.Close())
}

// addCamera pairs by hand: addcamera CONFIG NAME [pending]; its serial goes to $NAME.
func addCamera(ts *testscript.TestScript, _ bool, args []string) {
	id, err := identity.NewSelfMade()
	ts.Check(err)
	dev, err := identity.DeviceFromCert(id.TLS.Leaf)
	ts.Check(err)
	ts.Check(home.New(ts.MkAbs(args[0])).SaveCamera(home.Camera{
		Name: args[1], Pending: len(args) > 2,
		Camera: bind.Camera{Serial: id.Serial, Epoch: 1, BindID: cloud.Token(16), NoisePublic: dev.NoisePublic, Signing: dev.Signing},
	}))
	ts.Setenv(args[1], id.Serial.Plain())
	ts.Setenv(args[1]+"_masked", id.Serial.String())
}
