package rtsp

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/media"
)

// handler is what gortsplib calls. DESCRIBE and the response hook run in the
// goroutine of a connection; SETUP, PLAY and the end of a session in that of
// the session. It has no OnPause on purpose: clients get 501 (gortsplib dies of
// a PAUSE over multicast).
type handler struct {
	srv *Server
	ctx context.Context // ends with Run
}

func status(code base.StatusCode) *base.Response { return &base.Response{StatusCode: code} }

func connOf(c *gortsplib.ServerConn) *conn { return c.NetConn().(*conn) }

// OnRequest chooses the transport, and hides a GStreamer client's name: gortsplib
// makes those wait for a second at each SETUP, for the sake of one that publishes.
func (h *handler) OnRequest(sc *gortsplib.ServerConn, req *base.Request) {
	delete(req.Header, "User-Agent")
	c := connOf(sc)
	c.teardown = req.Method == base.Teardown
	c.choice, c.setup = nil, nil
	if c.viewer != nil {
		c.viewer.alive()
	}
	if req.Method == base.Setup {
		c.choice = h.srv.chooseFor(c, req)
		req.Header["Transport"] = h.srv.forGortsplib(c.choice)
	}
	if req.Method == base.Play && req.URL != nil {
		req.URL = wholeStream(req.URL)
	}
}

// OnResponse sees each answer just before it is written.
func (h *handler) OnResponse(sc *gortsplib.ServerConn, res *base.Response) {
	c := connOf(sc)
	if c.setup != nil && res.StatusCode == base.StatusOK {
		answer := c.setup.rewrite
		if c.setup.track == talkTrack {
			answer = c.setup.openTalk
		}
		switch err := answer(res); {
		case errors.Is(err, errPlays):
			res.StatusCode, res.StatusMessage = base.StatusMethodNotValidInThisState, ""
		case err != nil:
			h.srv.complain("cannot answer an RTSP SETUP", err)
			res.StatusCode, res.StatusMessage = base.StatusInternalServerError, ""
		}
	}
	if c.teardown && res.StatusCode == base.StatusOK && c.viewer != nil {
		c.viewer.cancel(errTornDown)
		c.viewer = nil
		c.in.listen(nil)
		c.mayIdle(false)
	}
}

func (h *handler) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	c := connOf(ctx.Conn)
	user, res, err := h.srv.authorize(c, ctx.Request)
	if res != nil {
		return res, nil, err
	}
	back, res := h.srv.requires(ctx.Request, user)
	if res != nil {
		return res, nil, nil
	}
	stream := h.find(ctx.Path)
	if stream == nil {
		return status(base.StatusNotFound), nil, nil
	}
	o, err := h.offer(stream)
	if err != nil {
		return status(base.StatusServiceUnavailable), nil, nil
	}
	body, err := h.srv.describe(h.ctx, c, o, user, ctx.Query)
	if err != nil {
		h.srv.complain("cannot describe an RTSP stream", err)
		return status(base.StatusServiceUnavailable), nil, nil
	}
	if back {
		body = append(body, talkSDP...)
	}
	return &base.Response{StatusCode: base.StatusOK, Body: body}, nil, nil
}

// find takes /main, /main/ and /main//, as clients make them of Content-Base.
func (h *handler) find(path string) *media.Stream {
	return h.srv.streams[strings.TrimRight(strings.TrimPrefix(path, "/"), "/")]
}

// offer describes the stream as it is now; it waits for the first key frame.
func (h *handler) offer(s *media.Stream) (*offer, error) {
	ctx, cancel := context.WithTimeout(h.ctx, parameterWait)
	defer cancel()
	h.srv.keys.want(s)
	sps, pps, err := s.Parameters(ctx)
	if err != nil {
		h.srv.slowLog(&h.srv.emptyLog, "RTSP viewer refused: the stream has no key frame yet", zap.String("stream", s.Name))
		return nil, err
	}
	return h.srv.currentOffer(s, sps, pps)
}

// OnSetup makes the viewer of a session at its first SETUP and pins it: gortsplib
// panics when a session is given a second stream.
func (h *handler) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	c := connOf(ctx.Conn)
	user, res, err := h.srv.authorize(c, ctx.Request)
	if res != nil {
		return res, nil, err
	}
	talks := h.srv.wantsTalk(ctx.Request)
	if _, res = h.srv.requires(ctx.Request, user); res != nil {
		return res, nil, nil
	}
	switch {
	case talks && !h.srv.mayTalk(user):
		return status(base.StatusForbidden), nil, nil
	case c.choice == nil:
		return status(base.StatusUnsupportedTransport), nil, nil
	}
	v, _ := ctx.Session.UserData().(*viewer)
	if v == nil {
		if v, res = h.newViewer(c, ctx, user); res != nil {
			return res, nil, nil
		}
		ctx.Session.SetUserData(v)
	}
	track := trackOf(ctx.Request.URL)
	switch {
	case v.user != user || v.tls != c.tls:
		return status(base.StatusForbidden), nil, nil
	case v.way != c.choice.way:
		return status(base.StatusUnsupportedTransport), nil, nil
	case (track < 0 || track >= len(v.tracks)) && !talks:
		return status(base.StatusNotFound), nil, nil
	case !h.srv.claim(v, c):
		return status(base.StatusUnsupportedTransport), nil, nil
	}
	c.setup = &answered{viewer: v, peer: c.RemoteAddr().(*net.TCPAddr), url: ctx.Request.URL.String(), local: c.LocalAddr().(*net.TCPAddr).IP, track: track, how: *c.choice}
	if !talks {
		v.learn(ctx.Request, track)
	}
	return status(base.StatusOK), v.signal, nil
}

func (h *handler) newViewer(c *conn, ctx *gortsplib.ServerHandlerOnSetupCtx, user string) (*viewer, *base.Response) {
	stream := h.find(ctx.Path)
	if stream == nil {
		return nil, status(base.StatusNotFound)
	}
	o := c.described
	if o == nil || o.stream != stream {
		var err error
		if o, err = h.offer(stream); err != nil {
			return nil, status(base.StatusServiceUnavailable)
		}
	}
	v, err := h.srv.register(h.ctx, o, user, c.shown, ctx.Session)
	switch {
	case errors.Is(err, errFull):
		h.srv.slowLog(&h.srv.fullLog, "RTSP viewer refused: as many are playing as max_viewers allows",
			zap.Int("max_viewers", h.srv.cfg.MaxViewers), zap.Stringer("address", c.RemoteAddr()))
		return nil, status(base.StatusServiceUnavailable)
	case err != nil:
		h.srv.complain("cannot set up an RTSP session", err)
		return nil, status(base.StatusInternalServerError)
	}
	if err := h.srv.settle(h.ctx, c, v); err != nil {
		h.srv.unregister(v)
		return nil, status(base.StatusServiceUnavailable)
	}
	return v, nil
}

// OnPlay has media begin once the answer is out; a second PLAY changes nothing.
func (h *handler) OnPlay(ctx *gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	c := connOf(ctx.Conn)
	user, res, err := h.srv.authorize(c, ctx.Request)
	if res != nil {
		return res, err
	}
	if _, res := h.srv.requires(ctx.Request, user); res != nil {
		return res, nil
	}
	v, _ := ctx.Session.UserData().(*viewer)
	if v == nil || v.user != user || v.tls != c.tls {
		return status(base.StatusForbidden), nil
	}
	if v.playing {
		return status(base.StatusOK), nil
	}
	if err := v.connect(c); err != nil {
		return status(base.StatusInternalServerError), err
	}
	v.playing = true
	if v.way.by == overTCP {
		c.in.listen(v.tracks)
	}
	v.beginTalk(c)
	c.viewer = v
	c.mayIdle(true)
	c.afterNextWrite(func() {
		if v.group != nil {
			h.srv.joined(v)
		} else {
			h.srv.start(v)
		}
	})
	return status(base.StatusOK), nil
}

// OnSessionClose comes after TEARDOWN, the end of a TCP viewer's connection, a
// minute of silence of a UDP viewer, or our own Close.
func (h *handler) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	v, _ := ctx.Session.UserData().(*viewer)
	if v == nil {
		return
	}
	cause := ctx.Error
	var asked liberrors.ErrServerSessionTornDown
	if errors.As(cause, &asked) { // this may come before OnResponse
		cause = errTornDown
	}
	v.cancel(cause)
	v.endTalk(!errors.Is(context.Cause(v.ctx), errTornDown))
	v.left()
	h.srv.unregister(v)
}

// OnDecodeError is about packets of viewers that make no sense: ignored, and
// here so that gortsplib does not print them.
func (h *handler) OnDecodeError(*gortsplib.ServerHandlerOnDecodeErrorCtx) {}

// keyRequests asks boards for key frames, for all viewers together at most once
// a second and stream.
type keyRequests struct {
	ask func(stream string)
	srv *Server
	at  map[string]time.Time // guarded by Server.mu
}

// want asks for a key frame if the newest one is too old for a new viewer.
func (k *keyRequests) want(s *media.Stream) {
	if t, ok := s.Ring.NewestKey(); ok && time.Since(t) <= keyAge {
		return
	}
	if k.ask != nil && k.wait(s.Name) == 0 {
		k.ask(s.Name)
	}
}

// insist asks for a key frame, now or as soon as it may, unless there is one that
// is newer than given: for a viewer that gets nothing of the past.
func (k *keyRequests) insist(s *media.Stream, than time.Time) {
	if t, ok := s.Ring.NewestKey(); k.ask == nil || ok && t.After(than) {
		return
	}
	if d := k.wait(s.Name); d > 0 {
		time.AfterFunc(d, func() { k.insist(s, than) })
		return
	}
	k.ask(s.Name)
}

// wait tells how long nobody may ask; none: the caller does, now.
func (k *keyRequests) wait(stream string) time.Duration {
	now := time.Now()
	k.srv.mu.Lock()
	defer k.srv.mu.Unlock()
	if last, asked := k.at[stream]; asked && now.Sub(last) < keyAge {
		return keyAge - now.Sub(last)
	}
	k.at[stream] = now
	return 0
}
