package home

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/identity"
)

const dirCameras = "cameras"

// Camera is a paired camera: its pinned keys, and what the owner calls it.
// Pending is one of which it isn't known yet whether it took its owner.
type Camera struct {
	bind.Camera
	Name    string `json:"name"`
	Pending bool   `json:"pending,omitempty"`
}

// Label names the camera to its owner, the serial masked. P8.
func (c Camera) Label() string { return fmt.Sprintf("%s (%v)", c.Name, c.Serial) }

// Cameras reads all cameras, sorted by serial.
func (h *Home) Cameras() ([]Camera, error) {
	entries, err := os.ReadDir(h.path(dirCameras))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Camera
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		c, err := h.readCamera(cloud.Serial(text))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (h *Home) readCamera(serial cloud.Serial) (Camera, error) {
	var c Camera
	path := h.cameraPath(serial)
	if _, err := durable.ReadJSON(path, &c); err != nil {
		return Camera{}, fmt.Errorf("camera %v: its file in %s is not valid JSON", serial, filepath.Dir(path))
	}
	switch {
	case c.Serial != serial:
		return Camera{}, fmt.Errorf("camera %v: its file in %s is of another camera", serial, filepath.Dir(path))
	case identity.CheckPublic(c.NoisePublic) != nil || len(c.Signing) != ed25519.PublicKeySize || c.BindID == "":
		return Camera{}, fmt.Errorf("camera %v: its file in %s is damaged: keys are missing", serial, filepath.Dir(path))
	}
	return c, nil
}

// SaveCamera stores c, replacing what was known of this serial.
func (h *Home) SaveCamera(c Camera) error {
	if err := h.make(dirCameras); err != nil {
		return err
	}
	return durable.WriteJSON(h.cameraPath(c.Serial), c)
}

func (h *Home) cameraPath(serial cloud.Serial) string {
	return h.path(dirCameras, serial.Plain()+".json")
}
