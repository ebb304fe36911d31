package config

// Local configures members' sessions over the local network.
type Local struct {
	Address string `mapstructure:"address" help:"host:port or :port on which members reach the camera past broker and cloud; not at all if empty"`
}

// DefaultLocalPort is where cameras listen for members on their network.
const DefaultLocalPort = "8555"

func defaultLocal() Local { return Local{Address: ":" + DefaultLocalPort} }

func (l *Local) check(k *Checks, r *RTSP) {
	if l.Address == "" {
		return
	}
	k.Listen("local.address", l.Address)
	for key, other := range map[string]string{"rtsp.address": r.Address, "rtsp.tls_address": r.TLSAddress} {
		k.Want(other == "" || !collide(l.Address, other), "local.address", l.Address, "another port than that of "+key)
	}
}

// Off tells that no member is served on the local network.
func (l *Local) Off() bool { return l.Address == "" }
