// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/internal/lab"
)

// Servers are real ones of this machine, which play those of the customers.
type servers struct {
	stage  *stage // what was started, for the end
	pki    *lab.PKI
	dir    string // of what the doors read
	slapd  *lab.Slapd
	samba  *lab.Samba
	mail   *mail
	absent []string // what is not played, and why
}

// lacks says what keeps servers from running here; "" is nothing. root says who wants to be
// started by root.
func lacks(root, packages string, programs ...string) string {
	if root != "" && os.Getuid() != 0 {
		return root + " to be started by root"
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			if _, err := exec.LookPath("/usr/sbin/" + name); err != nil {
				return name + " is not installed (Debian: " + packages + ")"
			}
		}
	}
	return ""
}

func mailLacks() string {
	return lacks("Postfix and Dovecot want", "postfix, dovecot-pop3d and dovecot-imapd", "postfix", "dovecot", "postmap", "setsid")
}

// newServers makes a place for servers that read and write below a directory.
func newServers(dir string) (s *servers, err error) {
	s = &servers{stage: &stage{}, dir: dir}
	defer s.stage.rescue(&err)
	s.pki = lab.NewPKI(s.stage)
	for name, text := range map[string]string{
		"servers-ca.pem": lab.CertificatePEM(s.pki.Root.Raw), "slapd-password": lab.SlapdPassword, "samba-password": lab.SambaPassword,
	} {
		lab.Write(s.stage, s.file(name), text)
	}
	return s, nil
}

func (s *servers) file(name string) string { return filepath.Join(s.dir, name) }

// startDirectories starts slapd and Samba, those that are there, and says what is not.
func (s *servers) startDirectories() {
	if why := lacks("", "slapd", "slapd", "slapadd", "slaptest"); why != "" {
		s.absent = append(s.absent, "LDAP bind accounts: "+why)
	} else {
		s.try("LDAP bind accounts", func(on *stage) { s.slapd = lab.StartSlapd(on, lab.SlapdSettings{PKI: s.pki}) })
	}
	if why := lacks("Samba wants", "samba-ad-dc, samba-ad-provision and samba-common-bin", "samba", "samba-tool", "testparm", "setpriv"); why != "" {
		s.absent = append(s.absent, "accounts of Active Directory: "+why)
	} else {
		// In minutes: as domain controllers are that nobody has changed in that.
		s.try("accounts of Active Directory", func(on *stage) { s.samba = lab.StartSamba(on, s.pki, "old password allowed period = 60") })
	}
	if why := mailLacks(); why != "" {
		s.absent = append(s.absent, "mail: "+why)
	}
}

// startMail starts Postfix and Dovecot with accounts that have passwords, and a relay that has
// those of routes, where they are installed.
func (s *servers) startMail(accounts, routes map[string]string) error {
	if mailLacks() != "" {
		return nil
	}
	return s.start(func(on *stage) { s.mail = newMail(on, s.pki, accounts, routes) })
}

// try starts something, or says why it is absent.
func (s *servers) try(what string, start func(*stage)) {
	if err := s.start(start); err != nil {
		s.absent = append(s.absent, fmt.Sprintf("%s: %v", what, err))
	}
}

// start starts something on a stage of its own, so that what fails ends alone.
func (s *servers) start(start func(*stage)) (err error) {
	own := &stage{}
	defer own.rescue(&err)
	start(own)
	s.stage.Cleanup(own.clear)
	return nil
}

// stop ends all of them.
func (s *servers) stop() {
	if s.mail != nil && s.mail.stop != nil {
		s.mail.stop()
		s.mail.going.Wait()
	}
	s.stage.clear()
}

// services returns what of the vendor needs an account at the servers that run. The accounts
// of mail have to be there before its servers.
func (s *servers) services() []*service {
	var all []*service
	if s.slapd != nil {
		all = append(all, s.directory())
	}
	if s.samba != nil {
		all = append(all, s.domain())
	}
	if mailLacks() == "" {
		all = append(all, s.journals(), s.routes())
	}
	return all
}

// A service is what the vendor does at its customers with an account that they gave it.
type service struct {
	title   string // of its accounts
	server  string // who plays the customers' servers
	system  string // what the vault calls one: before the domain of the customer
	account func(customer string) string
	add     func(account, password string) error // nil: they are there from the start
	signIn  func(account, password string) error // refusal is one that says no to the password
	door    func() string                        // driver and options of the door, as the configuration has them
	// A relay is given passwords by Tallystick: forward hands it mail, and supply is its door.
	forward func(account string) error
	supply  func() string
}

func (s *servers) directory() *service {
	at := server{address: s.slapd.LDAPS, config: s.pki.ClientConfig(driver.Material{})}
	return &service{
		title: "LDAP bind accounts", server: "slapd", system: "ldap",
		account: func(customer string) string { return "uid=mail-sync-" + customer + "," + s.slapd.People },
		signIn:  at.signIn,
		add: func(account, password string) error {
			request := ldap.NewAddRequest(account, nil)
			request.Attribute("objectClass", []string{"account", "simpleSecurityObject"})
			request.Attribute("userPassword", []string{password})
			return at.add(s.slapd.Admin, lab.SlapdPassword, request)
		},
		door: func() string {
			return fmt.Sprintf("driver: ldap, options: {url: %q, server-name: localhost, ca: %q, bind: %q, password-file: %q}",
				"ldaps://"+s.slapd.LDAPS, s.file("servers-ca.pem"), s.slapd.Admin, s.file("slapd-password"))
		},
	}
}

func (s *servers) domain() *service {
	config := s.pki.ClientConfig(driver.Material{})
	config.ServerName = lab.SambaHost
	at := server{address: s.samba.LDAPS, config: config}
	return &service{
		title: "accounts of Active Directory", server: "Samba", system: "ad",
		account: func(customer string) string { return "svc-" + customer },
		signIn:  func(account, password string) error { return at.signIn(account+"@lab.test", password) },
		add: func(account, password string) error {
			request := ldap.NewAddRequest("CN="+account+",CN=Users,"+lab.SambaBase, nil)
			request.Attribute("objectClass", []string{"user"})
			request.Attribute("sAMAccountName", []string{account})
			request.Attribute("userAccountControl", []string{"512"}) // an account that can sign in
			request.Attribute("unicodePwd", []string{adbytes.UnicodePwd(password)})
			return at.add(lab.SambaAdmin, lab.SambaPassword, request)
		},
		door: func() string {
			return fmt.Sprintf("driver: ad, options: {url: %q, server-name: %s, ca: %q, kdc: %q, bind: %q, password-file: %q, write-bind: %q, write-password-file: %q}",
				"ldaps://"+s.samba.LDAPS, lab.SambaHost, s.file("servers-ca.pem"), s.samba.KDC,
				lab.SambaAdmin, s.file("samba-password"), lab.SambaAdmin, s.file("samba-password"))
		},
	}
}

func (s *servers) journals() *service {
	return &service{
		title: "POP3 journaling accounts", server: "Dovecot", system: "pop3",
		account: func(customer string) string { return "journal-" + customer },
		signIn:  func(account, password string) error { return s.mail.look(account, password) },
		door: func() string {
			return fmt.Sprintf("driver: dovecot, options: {config: %q, passwd-file-old: %q}", s.mail.dovecot.Config, s.mail.olds)
		},
	}
}

func (s *servers) routes() *service {
	return &service{
		title: "SMTP routes", server: "Postfix", system: "smtp",
		account: func(customer string) string { return "route-" + customer },
		signIn:  func(account, password string) error { return s.mail.send(account, password) },
		forward: func(account string) error { return s.mail.forward(account) },
		door: func() string {
			return fmt.Sprintf("driver: dovecot, options: {config: %q, passwd-file-old: %q, listeners: %q, ca: %q}", s.mail.dovecot.Config, s.mail.olds,
				"smtp://"+s.mail.postfix.SMTP+"?sni=localhost", s.file("servers-ca.pem"))
		},
		supply: func() string {
			return fmt.Sprintf("driver: postfix, options: {config: %q, role: client}", s.mail.relay.Config)
		},
	}
}

// A server speaks LDAP.
type server struct {
	address string
	config  *tls.Config
}

func (s server) bind(name, password string) (*ldap.Conn, error) {
	conn, err := ldap.DialURL("ldaps://"+s.address, ldap.DialWithTLSConfig(s.config))
	if err != nil {
		return nil, err
	}
	conn.SetTimeout(answerTime)
	if err = conn.Bind(name, password); ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		err = refusal{err.Error()}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (s server) signIn(name, password string) error {
	conn, err := s.bind(name, password)
	if err != nil {
		return err
	}
	return conn.Unbind()
}

func (s server) add(name, password string, request *ldap.AddRequest) error {
	conn, err := s.bind(name, password)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Add(request); err != nil {
		return fmt.Errorf("couldn't make an account: %w", err)
	}
	return nil
}

// newPassword makes one that every policy takes.
func newPassword() string { return "A-" + uuid.NewString() }
