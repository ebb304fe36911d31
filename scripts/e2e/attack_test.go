package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"iid2secure.nl/camagent/scripts/stack"
)

// How many there are of each, and what they may cost.
const (
	attackGuesses  = 10_000
	attackIdlers   = 1_000
	attackMutes    = 200
	attackFuzzing  = 6 * time.Second
	attackMemory   = 48 << 20
	attackWrite    = 3 * time.Second // write_timeout
	attackLogin    = 4 * time.Second // login_timeout
	attackMaxWrong = 10
)

// siege is a camera under attack, and a viewer beside it that must not notice.
type siege struct {
	t       *testing.T
	s       *stack.Stack
	main    *url.URL // with the password
	tls     string   // host:port
	viewer  *counter
	before  process
	started time.Time
	filler  []byte // what an oddity goes on with
}

// It runs alone: it takes all processors there are, and other tests keep time.
func TestS3_R1_R6_AttackersBesideAViewerThatMissesNothing(t *testing.T) {
	film := makeFilm(t)
	s := newStack(t, stack.Options{Camera: map[string]any{
		"board": "pipe",
		"pipe": map[string]any{"sources": []any{map[string]any{
			"stream": "main", "fps": 25,
			"command": []string{"ffmpeg", "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", film, "-c", "copy", "-f", "h264", "-"},
		}}},
		"rtsp": map[string]any{"address": "127.0.0.1:0", "tls_address": "127.0.0.1:0", "max_viewers": attackMutes + 20,
			"wrong_answers": attackMaxWrong, "send_buffer_kb": 64, "write_timeout": attackWrite.String(), "login_timeout": attackLogin.String()},
	}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	live := liveInfo(t, s)
	a := &siege{t: t, s: s, main: parse(t, live.URLs["main"]), tls: parse(t, live.TLSURLs["main"]).Host}
	a.filler = bytes.Repeat([]byte("0"), 1<<20)
	a.viewer = countPictures(t, film, live.URLs["main"])
	eventually(t, 10*time.Second, "the viewer sees pictures", func() bool { return a.viewer.frames.Load() > 25 })
	first := a.viewer.frames.Load()
	a.started = time.Now()
	a.probe("at the start")
	a.before = a.look()
	for _, attack := range []struct {
		name string
		run  func(*testing.T)
	}{{"guesses", a.guess}, {"idle connections", a.idle}, {"viewers that read nothing", a.mute}, {"fuzzing", a.fuzz}} {
		began, cpu := time.Now(), a.look().cpu
		attack.run(t)
		a.survived(attack.name, time.Since(began), cpu)
	}
	if got, elapsed := a.viewer.frames.Load()-first, time.Since(a.started).Seconds(); float64(got) < 0.95*25*elapsed {
		t.Errorf("the viewer got %d pictures in %.1f s", got, elapsed)
	}
	a.readLog()
}

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (a *siege) look() process {
	a.t.Helper()
	p, err := lookAt(a.s.Camera.PID())
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

// probe is another viewer, who wants a whole picture within a second.
func (a *siege) probe(when string) time.Duration {
	a.t.Helper()
	began := time.Now()
	err := func() error {
		conn, err := dialFrom("127.0.0.1", a.main.Host, false)
		if err != nil {
			return err
		}
		defer conn.Close()
		c := newRTSPClient(conn, a.main)
		if err := c.play(a.main.User); err != nil {
			return err
		}
		return c.picture()
	}()
	took := time.Since(began)
	if err != nil || took > time.Second {
		a.t.Errorf("a new viewer %s: %v, after %s", when, err, took)
	}
	return took
}

// survived checks what must hold after each attack. R1, R6.
func (a *siege) survived(name string, took, cpu time.Duration) {
	a.t.Helper()
	p := a.look()
	if p.peak > attackMemory {
		a.t.Errorf("after %s: %d kB resident, at most %d", name, p.rss>>10, p.peak>>10)
	}
	served := a.probe("after " + name)
	seen := a.viewer.frames.Load()
	eventually(a.t, 5*time.Second, "pictures after "+name, func() bool { return a.viewer.frames.Load() > seen+5 })
	if n := a.viewer.missed.Load(); n != 0 {
		a.t.Errorf("the viewer missed %d pictures by the end of %s", n, name)
	}
	var now process
	eventually(a.t, 10*time.Second, fmt.Sprintf("descriptors and threads back to %d and %d after %s", a.before.fds, a.before.threads, name), func() bool {
		now = a.look()
		return now.fds <= a.before.fds+6 && now.threads <= a.before.threads+8
	})
	a.t.Logf("%s: %.1f s, %.2f s of CPU; a new viewer's picture after %d ms; %.1f MB resident, %.1f at most; %d descriptors, %d threads; %d pictures, %d missed",
		name, took.Seconds(), (p.cpu - cpu).Seconds(), served.Milliseconds(), float64(p.rss)/(1<<20), float64(p.peak)/(1<<20),
		now.fds, now.threads, a.viewer.frames.Load(), a.viewer.missed.Load())
}

// guess tries passwords from one address, with a nonce of its own choice, so that
// one request is one guess.
func (a *siege) guess(t *testing.T) {
	var answered, shut atomic.Int64
	const workers = 16
	err := each(t.Context(), attackGuesses, workers, func(i int) error {
		conn, err := dialFrom("127.0.0.2", a.main.Host, false)
		if err != nil {
			return err
		}
		defer conn.Close()
		switch code, err := a.tryPassword(conn, i); {
		case refused(err):
			shut.Add(1)
		case err != nil:
			return err
		case code == 401:
			answered.Add(1)
		default:
			return fmt.Errorf("guess %d is answered %d", i, code)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d guesses answered 401, %d refused at once", answered.Load(), shut.Load())
	if n := answered.Load(); n < attackMaxWrong || n > attackMaxWrong+workers {
		t.Errorf("%d guesses were answered, want %d and what was under way", n, attackMaxWrong)
	}
	conn, err := dialFrom("127.0.0.2", a.main.Host, false)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := newRTSPClient(conn, a.main).play(a.main.User); !refused(err) {
		t.Errorf("with the right password, from the address that is refused: %v", err)
	}
	if st := status(t, a.s).Live; st.WrongAnswers < attackMaxWrong || st.WrongAnswers > attackMaxWrong+workers || st.Blocked < attackGuesses-2*workers-attackMaxWrong {
		t.Errorf("the owner is told of %d wrong answers and %d connections refused", st.WrongAnswers, st.Blocked)
	}
}

func (a *siege) tryPassword(conn net.Conn, i int) (int, error) {
	address := "rtsp://" + a.main.Host + a.main.Path
	_, err := fmt.Fprintf(conn, "DESCRIBE %s RTSP/1.0\r\nCSeq: 1\r\n"+
		"Authorization: Digest username=\"%s\", realm=\"camera\", nonce=\"00\", uri=\"%s\", response=\"%032x\"\r\n\r\n",
		address, a.main.User.Username(), address, i)
	if err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return 0, err
	}
	var code int
	_, err = fmt.Sscanf(line, "RTSP/1.0 %d", &code)
	return code, err
}

// idle opens connections that say nothing, or half of something, on both ports.
func (a *siege) idle(t *testing.T) {
	conns := make([]net.Conn, attackIdlers)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	words := []string{"", "DESC", "GET /snap", "DESCRIBE rtsp://x/main RTSP/1.0\r\nCSeq: 1\r\n", "$\x00\xff\xff", "\x16\x03\x01\x02"}
	err := each(t.Context(), attackIdlers, 8, func(i int) (err error) {
		address := a.main.Host
		if i%4 == 3 {
			address = a.tls
		}
		if conns[i], err = dialFrom("127.0.0.3", address, false); err == nil {
			io.WriteString(conns[i], words[i%len(words)]) //nolint:errcheck // it may be closed by now
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	a.probe("beside idle connections")
	if st := status(t, a.s).Live; st.Connections > attackMutes+20+32 {
		t.Errorf("%d connections are open", st.Connections)
	}
	open := time.Now()
	for _, c := range conns { // those that stay are closed by the server as well
		c.SetDeadline(open.Add(attackLogin + 5*time.Second)) //nolint:errcheck // it is open
		if _, err := io.Copy(io.Discard, c); err != nil && !refused(err) {
			t.Fatalf("an idle connection after %s: %v", time.Since(open), err)
		}
	}
}

// mute watches, and reads nothing.
func (a *siege) mute(t *testing.T) {
	conns := make([]net.Conn, attackMutes)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	before := status(t, a.s).Live.Timeouts
	err := each(t.Context(), attackMutes, 8, func(i int) (err error) {
		if conns[i], err = dialFrom("127.0.0.5", a.main.Host, true); err != nil {
			return err
		}
		return newRTSPClient(conns[i], a.main).play(a.main.User)
	})
	if err != nil {
		t.Fatal(err)
	}
	if st := status(t, a.s).Live; st.Viewers < attackMutes/2 {
		t.Errorf("only %d viewers while %d read nothing", st.Viewers, attackMutes)
	}
	a.probe("beside viewers that read nothing")
	eventually(t, 20*time.Second, "all dropped but the one that reads", func() bool { return status(t, a.s).Live.Viewers == 1 })
	if n := status(t, a.s).Live.Timeouts - before; n < attackMutes*9/10 {
		t.Errorf("the owner is told of %d viewers that took nothing", n)
	}
}

// readLog looks whether the camera kept its word: a line of a kind a second at
// most, and no password in any.
func (a *siege) readLog() {
	a.t.Helper()
	b, err := os.ReadFile(a.s.Camera.Log)
	if err != nil {
		a.t.Fatal(err)
	}
	seconds := int(time.Since(a.started).Seconds()) + 1
	for _, text := range []string{"wrong user or password", "refused for a while", "RTSP connection ended for what came over it"} {
		if n := bytes.Count(b, []byte(text)); n > seconds {
			a.t.Errorf("%d lines say %q in %d s", n, text, seconds)
		}
	}
	if password, _ := a.main.User.Password(); bytes.Contains(b, []byte(password)) {
		a.t.Error("the log holds the password")
	}
	if m := regexp.MustCompile(`(?m)^(panic|fatal error|goroutine \d+).*$`).Find(b); m != nil {
		a.t.Errorf("the log says %q", m)
	}
}
