// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick/driver"
)

// NginxSettings are what a test may want of its nginx.
type NginxSettings struct {
	PKI       *PKI            // certifies the server and the clients; nil makes one
	Server    driver.Material // what it shows; none makes one for localhost
	Listeners []NginxListener // none is one
	// Clients asks clients for a certificate of the PKI, reads its revocation lists
	// and a list of denied ones, and answers 403 to who shows none.
	Clients   bool
	NoCRL     bool // reads no revocation lists
	NoDeny    bool // reads no list of denied certificates
	Cache     bool // keeps sessions in memory that outlives a reload, and gives no tickets
	Protocols string
	HTTP      string // further lines of http {}
	Lines     string // further lines of each server {}
}

// An NginxListener is one server {} of an nginx.
type NginxListener struct {
	Name string // server_name; "" is localhost
	Own  bool   // reads the certificate from files of its own, with the same content
}

// An Nginx answers 200 and the client's certificate, by its fingerprint, to everybody
// whom it lets in. Its files are private copies, for a test to change.
type Nginx struct {
	*Process
	PKI       *PKI
	Server    driver.Material
	Dir       string
	Config    string
	Addresses []string // host:port, as the listeners of the settings
	Chain     string   // files: certificate with those above it
	Key       string
	OwnChains []string // of the listeners that have files of their own, in their order
	ClientCA  string
	CRL       string
	Deny      string // entries of a map of $ssl_client_fingerprint
	PIDFile   string
	ErrorLog  string
	AccessLog string // a JSON object a line: ts, status, verify, fp_sha1, reused, tls
}

// StartNginx starts one.
func StartNginx(t TB, s NginxSettings) *Nginx {
	t.Helper()
	n := &Nginx{PKI: s.PKI, Server: s.Server, Dir: OpenDir(t)}
	if n.PKI == nil {
		n.PKI = NewPKI(t)
	}
	if n.Server.Key == nil {
		n.Server = n.PKI.Localhost(t)
	}
	if len(s.Listeners) == 0 {
		s.Listeners = []NginxListener{{}}
	}
	chain, key := MaterialPEM(t, n.Server)
	n.Chain, n.Key = write(t, n.Dir, "tls.crt", chain), write(t, n.Dir, "tls.key", key)
	n.ClientCA = write(t, n.Dir, "clients.pem", CertificatePEM(n.PKI.Sub.Raw, n.PKI.Root.Raw))
	n.CRL, n.Deny = write(t, n.Dir, "crl.pem", CRLPEM(n.PKI.CRLs(t)...)), write(t, n.Dir, "deny.map", "")
	n.PIDFile, n.ErrorLog, n.AccessLog = filepath.Join(n.Dir, "nginx.pid"), filepath.Join(n.Dir, "error.log"), filepath.Join(n.Dir, "access.json")
	var servers strings.Builder
	for i, listener := range s.Listeners {
		n.Addresses = append(n.Addresses, Loopback(FreePort(t)))
		certificate := n.Chain
		keyFile := n.Key
		if listener.Own {
			certificate, keyFile = write(t, n.Dir, fmt.Sprintf("own%d.crt", i), chain), write(t, n.Dir, fmt.Sprintf("own%d.key", i), key)
			n.OwnChains = append(n.OwnChains, certificate)
		}
		name := listener.Name
		if name == "" {
			name = "localhost"
		}
		fmt.Fprintf(&servers, "server {\nlisten %s ssl;\nserver_name %s;\nssl_certificate %s;\nssl_certificate_key %s;\n%s%s}\n",
			n.Addresses[i], name, certificate, keyFile, n.serverLines(s), s.Lines)
	}
	n.Config = write(t, n.Dir, "nginx.conf", n.head(s)+servers.String()+"}\n")
	n.Process = Start(t, n.Dir, nil, []string{Program(t, "nginx"), "-c", n.Config, "-e", n.ErrorLog}, n.Addresses...)
	return n
}

// head is what stands before the servers.
func (n *Nginx) head(s NginxSettings) string {
	user := ""
	if os.Getuid() == 0 { // the workers could not read what is private to the test
		user = "user root root;\n"
	}
	protocols := s.Protocols
	if protocols == "" {
		protocols = "TLSv1.2 TLSv1.3"
	}
	text := user + strings.NewReplacer("DIR", n.Dir, "PROTOCOLS", protocols).Replace(nginxHead)
	if s.Cache {
		text += "ssl_session_cache shared:tls:1m;\nssl_session_tickets off;\n"
	}
	if s.Clients && !s.NoDeny {
		text += "map $ssl_client_fingerprint $tally_denied { default 0; include " + n.Deny + "; }\n"
	}
	return text + s.HTTP
}

func (n *Nginx) serverLines(s NginxSettings) string {
	if !s.Clients {
		return "location / { return 200 \"ok\\n\"; }\n"
	}
	text := "ssl_client_certificate " + n.ClientCA + ";\nssl_verify_client optional;\n"
	if !s.NoCRL {
		text += "ssl_crl " + n.CRL + ";\n"
	}
	if !s.NoDeny {
		text += "if ($tally_denied) { return 403; }\n"
	}
	return text + "location / { if ($ssl_client_verify != SUCCESS) { return 403; } return 200 \"ok $ssl_client_fingerprint\\n\"; }\n"
}

const nginxHead = `daemon off;
worker_processes 2;
pid DIR/nginx.pid;
error_log DIR/error.log info;
events { worker_connections 512; }
http {
client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
log_format uses escape=json '{"ts":"$time_iso8601","msec":$msec,"remote":"$remote_addr:$remote_port","conn":$connection,'
'"req":"$request","status":$status,"tls":"$ssl_protocol","sni":"$ssl_server_name","port":"$server_port","reused":"$ssl_session_reused",'
'"verify":"$ssl_client_verify","sdn":"$ssl_client_s_dn","serial":"$ssl_client_serial","fp_sha1":"$ssl_client_fingerprint","ua":"$http_user_agent",'
'"cert":"$ssl_client_escaped_cert"}';
access_log DIR/access.json uses;
ssl_protocols PROTOCOLS;
`
