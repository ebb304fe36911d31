package cloud

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestS8_SecretsPrintNothing(t *testing.T) {
	t.Parallel()
	s := NewSecret("hush")
	b, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprint(&s, []Secret{s}), string(b)} {
		if !strings.Contains(text, "[redacted]") || strings.Contains(text, "hush") || strings.Contains(text, "68757368") {
			t.Error(text)
		}
	}
}

func TestP8_SerialsPrintMasked(t *testing.T) {
	t.Parallel()
	s := NewSerial()
	text := fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s)
	if strings.Contains(text, s.Plain()) || strings.Contains(text, fmt.Sprintf("%x", s.Plain())) || !strings.Contains(text, s.Plain()[:2]+"***") {
		t.Error(text)
	}
}

func TestM7_SerialsAsTyped(t *testing.T) {
	t.Parallel()
	s := NewSerial()
	p := s.Plain()
	typed := strings.NewReplacer("0", "o", "1", "l").Replace(strings.ToLower(p[:5] + "-" + p[5:10] + " " + p[10:]))
	if got, err := ParseSerial(typed); err != nil || got != s {
		t.Errorf("%q: %v %v", typed, got.Plain(), err)
	}
	for i := range p { // the check symbol finds every single slip
		for _, c := range Crockford {
			if wrong := p[:i] + string(c) + p[i+1:]; wrong != p {
				if _, err := ParseSerial(wrong); err == nil {
					t.Fatalf("%s was taken for %s", wrong, p)
				}
			}
		}
	}
}

func TestS4_Topics(t *testing.T) {
	t.Parallel()
	s := NewSerial()
	for topic, want := range map[string][2]string{
		TopicIn(s, "app-1"): {"in", "app-1"}, TopicOut(s, "app-1"): {"out", "app-1"},
		TopicStatus(s): {"status"}, TopicEvent(s): {"event"}, TopicAsk(s): {"ask"}, TopicAnswer(s): {"answer"},
	} {
		if serial, kind, client, err := SplitTopic(topic); err != nil || serial != s || [2]string{kind, client} != want {
			t.Errorf("%s: %s %s %v", kind, client, want, err)
		}
	}
	for _, topic := range []string{"", "cam/1/", "cam/1/x", "cam/2/x/ask", "cam/1/x/in", "cam/1/x/in/", "cam/1/x/ask/y", "cam/1/x/in/a/b"} {
		if _, _, _, err := SplitTopic(topic); err == nil {
			t.Errorf("%q was taken", topic)
		}
	}
}

func TestS4_StrictJSON(t *testing.T) {
	t.Parallel()
	var v struct{ A int }
	if err := DecodeStrict([]byte(` {"A":1} `), &v); err != nil || v.A != 1 {
		t.Error(v, err)
	}
	for _, text := range []string{"", "{", `{"B":1}`, `{"A":1}{}`, `{"A":1} x`, `{"A":"1"}`} {
		if err := DecodeStrict([]byte(text), &v); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestS4_OneLine(t *testing.T) {
	t.Parallel()
	if got := OneLine("a\nb\x1b[2J\u202ec" + strings.Repeat("ü", 400)); got != "a; b [2J c"+strings.Repeat("ü", 290) {
		t.Errorf("%q", got)
	}
}

func TestM3_ClipNames(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 123e6, time.FixedZone("x", 3600))
	name := ClipName(at)
	if back, err := ParseClipName(name); err != nil || !back.Equal(at) || len(name) != ClipNameLen || name[:20] != "20260102T020405.123Z" {
		t.Error(name, back, err)
	}
	for _, bad := range []string{"", name + ExtClip, name[1:], strings.ToUpper(name), "20261302T020405.123Z-abcdefgh", "../" + name[3:]} {
		if _, err := ParseClipName(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func FuzzParseSerialAndTopic(f *testing.F) {
	f.Add("7K00-0000 00000o2")
	f.Add("cam/1/7K000000000002/in/app")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSerial(text); err == nil {
			if again, err := ParseSerial(s.Plain()); err != nil || again != s {
				t.Fatalf("%q reads as %q, which reads as %q", text, s.Plain(), again.Plain())
			}
		}
		if s, kind, client, err := SplitTopic(text); err == nil && client != "" && kind == "in" && TopicIn(s, client) != text {
			t.Fatalf("%q: %q %q", text, kind, client)
		}
	})
}
