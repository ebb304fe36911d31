package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cloud/spool"
)

// handlers binds every command of the catalogue.
func (a *Agent) handlers() map[string]command.Handler {
	m := map[string]command.Handler{}
	add := func(name string, h command.Handler) { m[name] = h }
	add(command.StatusGet.Bind(a.statusGet))
	add(command.SettingsGet.Bind(a.settingsGet))
	add(command.SettingsSet.Bind(a.settingsSet))
	add(command.SnapshotTake.Bind(a.snapshotTake))
	add(command.ClipsList.Bind(a.clipsList))
	add(command.ClipsRead.Bind(a.clipsRead))
	add(command.ClipsUpload.Bind(a.clipsUpload))
	add(command.RecordingStart.Bind(a.recordingStart))
	add(command.RecordingStop.Bind(a.recordingStop))
	add(command.KeyframeRequest.Bind(a.keyframeRequest))
	add(command.LiveGet.Bind(a.liveGet))
	return m
}

// permitted is the roster's answer; commands without a permission are for any member.
func (a *Agent) permitted(member string, p cloud.Permission) bool {
	return p == "" || a.binding.Permitted(member, p)
}

// able tells whether the camera has a capability.
func (a *Agent) able(capability string) bool {
	_, ok := a.board.Capability(capability)
	return ok
}

func (a *Agent) statusGet(_ context.Context, member string, _ command.None) (command.Status, error) {
	_, bindID, _ := a.binding.Binding()
	card := a.card.Stats()
	up := a.uploadStats()
	return command.Status{
		Version: cloud.Version, Uptime: a.uptime().Milliseconds(), Time: a.clock.Now().Format(time.RFC3339Nano), Clock: a.clock.Trust(), Site: a.siteStatus(),
		Board: a.board.Info(), Capabilities: a.board.Capabilities(),
		Streams:    a.streamStatus(),
		Live:       a.liveStatus(member),
		Recording:  a.recordingStatus(),
		Microphone: a.camera.micOpen.Load(),
		Card:       command.CardStatus{Used: card.UsedBytes, Limit: int64(a.cfg.Card.LimitMB) << 20, Clips: card.Pending + card.Uploaded},
		Upload:     up,
		Chains:     a.chains.heads(bindID),
		Conditions: a.health.conditions(),
	}, nil
}

func (a *Agent) streamStatus() []command.StreamStatus {
	out := make([]command.StreamStatus, len(a.streams))
	for i, s := range a.streams {
		out[i] = command.StreamStatus{Name: s.Name, Running: a.camera.running[i].Load(),
			Config: s.Config(), StreamStats: a.board.Stats(s.Name)}
	}
	return out
}

func (a *Agent) settingsGet(context.Context, string, command.None) (command.Settings, error) {
	return a.camera.observed(), nil
}

// settingsSet needs control, and admin for the microphone: hearing is a consent of its own. P2.
func (a *Agent) settingsSet(ctx context.Context, member string, p command.SettingsPatch) (command.Settings, error) {
	if p.Microphone != nil && !a.permitted(member, cloud.Admin) {
		return command.Settings{}, cloud.Refuse(cloud.CodePermission, "settings.set: microphone needs the permission %q", cloud.Admin)
	}
	return a.camera.change(ctx, p)
}

// snapshotWait is how long a snapshot may take to be confirmed in the store
// before it is sent in the reply instead.
const snapshotWait = 5 * time.Second

func (a *Agent) snapshotTake(ctx context.Context, _ string, _ command.None) (command.Snapshot, error) {
	jpeg, err := a.camera.snapshot(ctx)
	if err != nil {
		return command.Snapshot{}, err
	}
	to, err := seal.ParseRecipients(a.binding.Recipients(cloud.Clips))
	if err != nil {
		return command.Snapshot{}, err
	}
	sealed, err := seal.Bytes(jpeg, to)
	if err != nil {
		return command.Snapshot{}, err
	}
	name := cloud.ClipName(a.clock.Now()) + ".jpg.age"
	sum := sha256.Sum256(sealed)
	reply := command.Snapshot{Name: name, Size: int64(len(sealed)), SHA256: hex.EncodeToString(sum[:])}
	if err := a.store(ctx, name, sealed); err != nil {
		reply.Sealed = sealed
	} else {
		reply.Stored = true
	}
	return reply, nil
}

var errNoCloud = errors.New("no cloud is configured")

// store puts a sealed object on the card and waits for the store's confirmation.
func (a *Agent) store(ctx context.Context, name string, sealed []byte) error {
	if _, err := a.card.Add(name, spool.Snapshot, sealed); err != nil {
		return err
	}
	if a.uploader == nil {
		return errNoCloud
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	return a.uploader.Wait(ctx, name)
}

func (a *Agent) keyframeRequest(ctx context.Context, _ string, s command.StreamName) (command.None, error) {
	return command.None{}, a.camera.requestKey(ctx, s.Stream)
}
