package command

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/hal"
)

// handlersFor answers every command with an empty result, and want with its own.
func handlersFor(special map[string]Handler) map[string]Handler {
	m := map[string]Handler{}
	for _, e := range All() {
		m[e.Name] = func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage("{}"), nil
		}
	}
	for n, h := range special {
		m[n] = h
	}
	return m
}

func allow(string, cloud.Permission) bool { return true }

func can(string) bool { return true }

func TestM5_EveryCommandNeedsAHandlerAndNoHandlerIsForeign(t *testing.T) {
	t.Parallel()
	m := handlersFor(nil)
	if _, err := NewExecutor(allow, can, m); err != nil {
		t.Fatal(err)
	}
	m["privacy.off"] = m["status.get"]
	if _, err := NewExecutor(allow, can, m); err == nil || !strings.Contains(err.Error(), "privacy.off") {
		t.Errorf("a handler without an entry: %v", err)
	}
	delete(m, "privacy.off")
	delete(m, "live.get")
	if _, err := NewExecutor(allow, can, m); err == nil || !strings.Contains(err.Error(), "live.get") {
		t.Errorf("an entry without a handler: %v", err)
	}
}

func TestCatalogueIsWellFormed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, e := range All() {
		if seen[e.Name] || e.Help == "" || strings.Count(e.Name, ".") != 1 {
			t.Errorf("%+v", e)
		}
		seen[e.Name] = true
	}
}

func TestP6_PermissionIsCheckedWhereACommandIsCarriedOut(t *testing.T) {
	t.Parallel()
	ran := false
	name, h := SettingsSet.Bind(func(context.Context, string, SettingsPatch) (Settings, error) {
		ran = true
		return Settings{}, nil
	})
	x, err := NewExecutor(func(member string, p cloud.Permission) bool { return member == "owner" || p == cloud.Live }, can, handlersFor(map[string]Handler{name: h}))
	if err != nil {
		t.Fatal(err)
	}
	cmd := cloud.Command{ID: "1", Name: "settings.set", Args: json.RawMessage(`{"recording":"off"}`)}
	r := x.Execute(t.Context(), "guest", cmd)
	if ran || r.Error == nil || r.Error.Code != cloud.CodePermission || !strings.Contains(r.Error.Message, "control") {
		t.Errorf("a guest: ran %v, %+v", ran, r.Error)
	}
	if r := x.Execute(t.Context(), "owner", cmd); !ran || r.Error != nil || r.ID != "1" {
		t.Errorf("the owner: ran %v, %+v", ran, r)
	}
}

func TestS4_BadCommandsAreRefusedInOneLine(t *testing.T) {
	t.Parallel()
	name, h := SettingsSet.Bind(func(context.Context, string, SettingsPatch) (Settings, error) { return Settings{}, nil })
	fail, failing := LiveGet.Bind(func(context.Context, string, None) (Live, error) { return Live{}, errors.New("a\nb") })
	x, err := NewExecutor(allow, can, handlersFor(map[string]Handler{name: h, fail: failing}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, args, code, says string }{
		{"camera.explode", "", cloud.CodeUnknown, "camera.explode"},
		{strings.Repeat("x", 5000), "", cloud.CodeUnknown, "…"},
		{"settings.set", `{"bitrate":1}`, cloud.CodeArgument, "bitrate"},
		{"settings.set", `{}`, cloud.CodeArgument, "nothing to set"},
		{"settings.set", ``, cloud.CodeArgument, "nothing to set"},
		{"settings.set", `{"recording":"sometimes"}`, cloud.CodeArgument, "events or off"},
		{"settings.set", `{"microphone":"yes"}`, cloud.CodeArgument, "microphone"},
		{"settings.set", `{"recording":"off"} {}`, cloud.CodeArgument, "more than one"},
		{"settings.set", `[`, cloud.CodeArgument, "settings.set"},
		{"live.get", ``, cloud.CodeFailed, "a; b"},
	} {
		r := x.Execute(t.Context(), "owner", cloud.Command{Name: c.name, Args: json.RawMessage(c.args)})
		if r.Error == nil || r.Error.Code != c.code || !strings.Contains(r.Error.Message, c.says) || strings.Contains(r.Error.Message, "\n") || len(r.Error.Message) > 300 {
			t.Errorf("%.20s %s: %+v", c.name, c.args, r.Error)
		}
	}
}

func TestM5_SettingsPatchAppliesWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	board := []hal.StreamInfo{{Name: "main", Bitrate: hal.Range{Min: 1000, Max: 9000}, FPS: hal.Range{Min: 1, Max: 30}}}
	now := Settings{Streams: map[string]StreamSettings{"main": {Bitrate: 5000, FPS: 25, GOP: 50}}, Recording: RecordContinuous}
	num := func(n int) *int { return &n }
	off := RecordOff
	p := SettingsPatch{Streams: map[string]StreamPatch{"main": {Bitrate: num(6000)}}, Recording: &off}
	got, err := p.Apply(now, board)
	if err != nil || got.Streams["main"] != (StreamSettings{6000, 25, 50}) || got.Recording != RecordOff {
		t.Fatalf("%+v, %v", got, err)
	}
	if now.Streams["main"].Bitrate != 5000 {
		t.Fatal("Apply changed its argument")
	}
	bad := SettingsPatch{Streams: map[string]StreamPatch{"main": {Bitrate: num(1), FPS: num(31), GOP: num(10)}, "third": {FPS: num(1)}}}
	_, err = bad.Apply(now, board)
	for _, says := range []string{"main.bitrate: is 1, want 1000 to 9000", "main.fps: is 31", "main.gop: this board can't", "third"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in: %v", says, err)
		}
	}
}

// S5: arguments from outside never crash the catalogue.
func FuzzExecute(f *testing.F) {
	f.Add("settings.set", []byte(`{"streams":{"main":{"fps":1}}}`))
	f.Add("clips.list", []byte(`{"limit":-1}`))
	f.Fuzz(func(t *testing.T, name string, args []byte) {
		special := map[string]Handler{}
		add := func(n string, h Handler) { special[n] = h }
		add(SettingsSet.Bind(func(_ context.Context, _ string, p SettingsPatch) (Settings, error) {
			return p.Apply(Settings{Streams: map[string]StreamSettings{}}, nil)
		}))
		add(ClipsList.Bind(func(_ context.Context, _ string, q ClipsQuery) (ClipsPage, error) {
			if q.Limit < 0 {
				t.Fatal("an invalid query was let in")
			}
			return ClipsPage{}, nil
		}))
		add(KeyframeRequest.Bind(func(context.Context, string, StreamName) (None, error) { return None{}, nil }))
		x, err := NewExecutor(allow, can, handlersFor(special))
		if err != nil {
			t.Fatal(err)
		}
		if r := x.Execute(context.Background(), "m", cloud.Command{Name: name, Args: args}); r.Error == nil && r.Result == nil {
			t.Fatal("neither result nor error")
		}
	})
}
