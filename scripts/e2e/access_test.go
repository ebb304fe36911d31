package e2e

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/scripts/stack"
)

// liveInfo waits until the camera serves, and is all that camctl live tells.
func liveInfo(t *testing.T, s *stack.Stack) command.Live {
	t.Helper()
	liveOf(t, s)
	l, err := s.LiveInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestM2_S3_PicturesAndEncryptedStreamsForMembersAlone(t *testing.T) {
	t.Parallel()
	s := newStack(t, stack.Options{})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	live := liveInfo(t, s)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(live.Certificate)) {
		t.Fatal("camctl live gives no certificate")
	}
	checkPictures(t, live, roots)
	checkCurl(t, live)
	checkEncrypted(t, s, live)
	playEncrypted(t, s)
}

// checkPictures gets the picture over HTTP and HTTPS with either digest; nobody
// else gets one, nor is another certificate believed.
func checkPictures(t *testing.T, live command.Live, roots *x509.CertPool) {
	t.Helper()
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer trusting.CloseIdleConnections()
	for _, address := range []string{live.Snapshot, live.TLSSnapshot} {
		for _, algorithm := range []string{"MD5", "SHA-256"} {
			code, body := getDigest(t, trusting, address, live.Password, algorithm)
			if code != http.StatusOK {
				t.Errorf("%s with %s: %d %s", address, algorithm, code, body)
				continue
			}
			checkPicture(t, body)
		}
		if code, body := getDigest(t, trusting, address, live.Password+"x", "SHA-256"); code != http.StatusUnauthorized {
			t.Errorf("%s with a wrong password: %d, %d bytes", address, code, len(body))
		}
	}
	if res, err := http.Get(withoutUser(t, live.TLSSnapshot)); err == nil {
		res.Body.Close()
		t.Error("a client without the certificate believes the camera")
	}
}

func checkPicture(t *testing.T, body []byte) {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("picture of %d bytes: %v", len(body), err)
	}
	y, ok := img.(*image.YCbCr)
	if !ok || y.Rect.Dx() != simWidth || y.Rect.Dy() != simHeight {
		t.Fatalf("the picture is a %T of %v", img, img.Bounds())
	}
	if _, ok := sim.ReadStrip(y.Y, y.YStride, simWidth, simHeight); !ok {
		t.Error("the picture's strip can't be read")
	}
}

func withoutUser(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = nil
	return u.String()
}

// getDigest asks for address by the rules of RFC 7616, with one algorithm.
func getDigest(t *testing.T, c *http.Client, address, password, algorithm string) (int, []byte) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	user := u.User.Username()
	u.User = nil
	code, header, _ := get(t, c, u.String(), "")
	if code != http.StatusUnauthorized {
		t.Fatalf("%s without a password: %d", u, code)
	}
	for _, h := range header.Values("WWW-Authenticate") {
		p := map[string]string{}
		for _, m := range regexp.MustCompile(`(\w+)="?([^",]*)"?`).FindAllStringSubmatch(h, -1) {
			p[m[1]] = m[2]
		}
		if p["algorithm"] != algorithm && !(algorithm == "MD5" && p["algorithm"] == "") {
			continue
		}
		answer := digest(algorithm, user, p["realm"], password, u.RequestURI(), p["nonce"], p["qop"])
		code, _, body := get(t, c, u.String(), answer)
		return code, body
	}
	t.Fatalf("%s offers no %s: %q", u, algorithm, header.Values("WWW-Authenticate"))
	return 0, nil
}

func digest(algorithm, user, realm, password, uri, nonce, qop string) string {
	sum := func(parts ...string) string {
		var h hash.Hash = md5.New()
		if algorithm == "SHA-256" {
			h = sha256.New()
		}
		io.WriteString(h, strings.Join(parts, ":"))
		return hex.EncodeToString(h.Sum(nil))
	}
	ha1, ha2 := sum(user, realm, password), sum("GET", uri)
	head := fmt.Sprintf(`Digest username=%q, realm=%q, nonce=%q, uri=%q, algorithm=%s`, user, realm, nonce, uri, algorithm)
	if qop == "" {
		return head + fmt.Sprintf(`, response="%s"`, sum(ha1, nonce, ha2))
	}
	cnonce := rand.Text()
	return head + fmt.Sprintf(`, qop=auth, nc=00000001, cnonce=%q, response="%s"`, cnonce, sum(ha1, nonce, "00000001", cnonce, "auth", ha2))
}

func get(t *testing.T, c *http.Client, address, authorization string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, body
}

// checkCurl gets the picture as an NVR's shell script does, and has OpenSSL judge
// certificate and address.
func checkCurl(t *testing.T, live command.Live) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "camera.pem")
	if err := os.WriteFile(ca, []byte(live.Certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{live.Snapshot, live.TLSSnapshot} {
		c := exec.CommandContext(t.Context(), "curl", "--silent", "--show-error", "--fail", "--digest", "--cacert", ca, "--config", "-")
		c.Stdin = strings.NewReader(fmt.Sprintf("url = %q\nuser = %q\n", withoutUser(t, address), live.User+":"+live.Password))
		var said bytes.Buffer
		c.Stderr = &said
		body, err := c.Output()
		if err != nil {
			t.Errorf("curl %s: %v: %s", address, err, said.String())
			continue
		}
		checkPicture(t, body)
	}
	if err := exec.Command("curl", "--silent", "--fail", withoutUser(t, live.TLSSnapshot)).Run(); err == nil {
		t.Error("curl believes a certificate that nobody gave it")
	}
}

// checkEncrypted has ffprobe, and camctl's file of the certificate.
func checkEncrypted(t *testing.T, s *stack.Stack, live command.Live) {
	t.Helper()
	ca := s.Path("camera.pem")
	out, err := s.Ctl(t.Context(), "live", "--tls", "--cert", ca)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "rtsp://") || strings.Contains(out, "http://") || !strings.Contains(out, live.Fingerprint) {
		t.Errorf("camctl live --tls:\n%s", out)
	}
	if b, err := os.ReadFile(ca); err != nil || string(b) != live.Certificate {
		t.Errorf("camctl live --cert: %v, %s", err, b)
	}
	for stream, size := range map[string]string{"main": "1280x720", "sub": "640x360"} {
		got := output(t, "ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-select_streams", "v",
			"-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0:s=x", live.TLSURLs[stream])
		if strings.TrimSpace(got) != "h264x"+size {
			t.Errorf("ffprobe %s: %s", stream, got)
		}
	}
}

// playEncrypted watches as camctl live --play --tls does, with ffplay in the dark:
// the camera tells its owner who watches, and over what.
func playEncrypted(t *testing.T, s *stack.Stack) {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(bin, "camctl"), "live", "--play", "--tls")
	c.Env = append(os.Environ(), "CAMCTL_CONFIG="+s.Path("owner"), "SDL_VIDEODRIVER=dummy", "SDL_AUDIODRIVER=dummy")
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the owner sees the viewer over TLS", func() bool {
		for _, v := range status(t, s).Live.Sessions {
			if v.Transport == "tls" && v.Stream == "main" && v.Frames > 25 && v.Member != "" {
				return true
			}
		}
		return false
	})
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	c.Wait() //nolint:errcheck // it was interrupted
	if text := strings.TrimSpace(said.String()); text != "camctl: interrupted" {
		t.Errorf("camctl live --play --tls: %s", text)
	}
	eventually(t, 10*time.Second, "the viewer is gone", func() bool { return len(status(t, s).Live.Sessions) == 0 })
}

// guestOf puts a second member into the roster of a camera that does not run.
func guestOf(t *testing.T, s *stack.Stack, expires time.Time) (user, password string) {
	t.Helper()
	path := s.Path("camera", "state", "binding.json")
	var state map[string]any
	if _, err := durable.ReadJSON(path, &state); err != nil {
		t.Fatal(err)
	}
	_, recipient, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	k := identity.NewKeyPair()
	guest := bind.Member{ID: bind.MemberID(k.Public), Name: "guest", Noise: k.Public, Recipient: recipient,
		Permissions: []cloud.Permission{cloud.Live}, Expires: expires.Unix()}
	b, err := json.Marshal(guest)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	m["password"] = rand.Text()
	members, ok := state["members"].([]any)
	if !ok {
		t.Fatalf("%s holds no members", path)
	}
	state["members"] = append(members, m)
	if err := durable.WriteJSON(path, state); err != nil {
		t.Fatal(err)
	}
	return guest.ID, m["password"].(string)
}

func TestS3_ViewingEndsWithTheMembershipAndNobodyElseNotices(t *testing.T) {
	t.Parallel()
	s := newStack(t, stack.Options{})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := liveInfo(t, s)
	if err := s.Camera.Stop(); err != nil {
		t.Fatal(err)
	}
	expires := time.Now().Add(25 * time.Second).Truncate(time.Second)
	user, password := guestOf(t, s, expires)
	if err := s.StartCamera(); err != nil {
		t.Fatal(err)
	}
	live := liveInfo(t, s)
	if live.Fingerprint != before.Fingerprint || live.Password != before.Password {
		t.Error("after a restart the camera has another certificate or credential")
	}
	u, err := url.Parse(live.URLs["main"])
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	ctx, cancel := context.WithDeadline(t.Context(), expires.Add(20*time.Second))
	defer cancel()
	guest, owner := watch(ctx, u.String(), "tcp"), watch(ctx, live.URLs["main"], "tcp")
	defer owner.cancel()
	eventually(t, 20*time.Second, "both watch", func() bool { return len(status(t, s).Live.Sessions) == 2 })
	<-guest.done
	if late := time.Since(expires); late < 0 || late > 5*time.Second {
		t.Errorf("the guest's stream ended %s after the membership", late)
	}
	if len(guest.list) < 25 {
		t.Errorf("the guest saw %d pictures", len(guest.list))
	}
	if out, err := exec.Command("ffprobe", "-v", "error", "-rtsp_transport", "tcp", u.String()).CombinedOutput(); err == nil || !strings.Contains(string(out), "401") {
		t.Errorf("the guest comes back: %v, %s", err, out)
	}
	st := status(t, s)
	if len(st.Live.Sessions) != 1 || st.Live.Sessions[0].Member == "guest" || st.Live.WrongAnswers == 0 {
		t.Errorf("the owner is told %+v", st.Live)
	}
	list := owner.stop(t)
	contiguous(t, "owner", list, lostOf(t, s, "main"))
}
