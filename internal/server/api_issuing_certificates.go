// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
)

type listCertificatesInput struct {
	Authority string           `query:"authority" maxLength:"100"`
	Name      string           `query:"name" maxLength:"2048" doc:"one of its names, whole"`
	Key       tallystick.KeyID `query:"key" maxLength:"64" doc:"SHA-256 of SubjectPublicKeyInfo, hexadecimal"`
	Profile   string           `query:"profile" maxLength:"100"`
	Via       string           `query:"via" maxLength:"20" doc:"how it was asked for, such as api or acme"`
	Requester string           `query:"requester" maxLength:"300"`
	State     string           `query:"state" enum:"good,expired,revoked,recalled"`
	Answered  string           `query:"answered" enum:"yes,no" doc:"yes: replaced by a newer one"`
	Within    float64          `query:"within" minimum:"0" maximum:"1e9" doc:"seconds within which it ends"`
	Replaces  ca.Serial        `query:"replaces" maxLength:"32" doc:"the serial of the one that it takes the place of"`
	PageQuery
}

// A certificateBody is a certificate without its bytes.
type certificateBody struct {
	Items []ca.Certificate `json:"items"`
	Next  string           `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) listCertificates(ctx context.Context, actor gate.Actor, in *listCertificatesInput) (certificateBody, error) {
	filter := ca.Filter{
		Authority: in.Authority, Key: in.Key, Name: in.Name, Profile: in.Profile, Via: in.Via, Requester: in.Requester, State: in.State, Answered: in.Answered,
		Within: seconds(in.Within), Replaces: in.Replaces,
	}
	rows, err := a.Issuing.CA.List(ctx, actor, filter, ca.Serial(in.After), in.Limit)
	body := certificateBody{Items: rows}
	if len(rows) == in.Limit {
		body.Next = string(rows[len(rows)-1].Serial)
	}
	return body, err
}

type serialInput struct {
	Serial ca.Serial `path:"serial" maxLength:"32"`
}

// An oneCertificateBody is all there is to know of a certificate.
type oneCertificateBody struct {
	ca.Certificate
	PEM    string     `json:"pem"`
	Chain  string     `json:"chain" doc:"PEM, from its issuer on, without the root"`
	Window windowBody `json:"window"`
}

// A windowBody is when to renew (RFC 9773 section 4.2).
type windowBody struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

func (a *api) certificate(ctx context.Context, actor gate.Actor, in *serialInput) (oneCertificateBody, error) {
	c, err := a.Issuing.CA.Look(ctx, actor, in.Serial)
	if err != nil {
		return oneCertificateBody{}, err
	}
	w := c.Window()
	return oneCertificateBody{c, certificatePEM(c), pemOf(c.Chain), windowBody{w.Start, w.End}}, nil
}

// certificatePEM writes one as text; those of SSH have a form of their own, and are
// given where they are made.
func certificatePEM(c ca.Certificate) string {
	if len(c.Serial) < 32 {
		return ""
	}
	return pemOf([][]byte{c.DER})
}

// An IssueInputBody asks for a certificate.
type IssueInputBody struct {
	CSR       string    `json:"csr" minLength:"1" maxLength:"32768" doc:"PKCS #10, PEM"`
	Authority string    `json:"authority,omitempty" maxLength:"100" doc:"absent is the one of the profile, or the only one that signs"`
	Profile   string    `json:"profile,omitempty" maxLength:"100" doc:"absent is server"`
	Names     *ca.Names `json:"names,omitempty" doc:"in place of those of the CSR"`
	Lifetime  float64   `json:"lifetime,omitempty" minimum:"0" maximum:"1e9" doc:"seconds; absent is that of the profile"`
	Replaces  ca.Serial `json:"replaces,omitempty" maxLength:"32" doc:"the serial of the one that it takes the place of"`
}

type issueInput struct{ Body IssueInputBody }

// An issuedBody is the answer to a request: a certificate, or the number of a
// request that waits.
type issuedBody struct {
	Serial      ca.Serial `json:"serial,omitempty"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	Certificate string    `json:"certificate,omitempty" doc:"PEM"`
	Chain       string    `json:"chain,omitempty" doc:"PEM, from its issuer on, without the root"`
	Request     int64     `json:"request,omitempty" doc:"of a request that somebody must approve (status 202)"`
}

// status is that of the answer; see call.
func (b issuedBody) status() int {
	if b.Request != 0 {
		return http.StatusAccepted
	}
	return http.StatusOK
}

// issue is called more often than all others together; package ca does the work.
func (a *api) issue(ctx context.Context, actor gate.Actor, in *issueInput) (issuedBody, error) {
	b := &in.Body
	made, err := a.Issuing.CA.Issue(ctx, actor, ca.Request{
		Authority: b.Authority, Profile: b.Profile, CSR: []byte(b.CSR), Names: b.Names, Lifetime: seconds(b.Lifetime), Via: ca.ViaAPI, Replaces: b.Replaces,
	})
	if waiting, ok := errors.AsType[*ca.Waiting](err); ok {
		return issuedBody{Request: waiting.Request}, nil
	}
	if err != nil {
		return issuedBody{}, err
	}
	return issuedBody{Serial: made.Serial, NotAfter: made.NotAfter, Certificate: certificatePEM(made), Chain: pemOf(made.Chain)}, nil
}

// A RevokeInputBody says which certificates are not to be trusted any more.
type RevokeInputBody struct {
	Serials      []ca.Serial      `json:"serials,omitempty" maxItems:"10000"`
	Key          tallystick.KeyID `json:"key,omitempty" maxLength:"64" doc:"all that are for this key: SHA-256 of SubjectPublicKeyInfo, hexadecimal"`
	Reason       ca.Reason        `json:"reason" doc:"unspecified, key-compromise, ca-compromise, affiliation-changed, superseded, cessation-of-operation, privilege-withdrawn or aa-compromise (RFC 5280 section 5.3.1)"`
	InvalidSince time.Time        `json:"invalid_since,omitzero" doc:"when the key may have come into other hands"`
	Note         string           `json:"note,omitempty" maxLength:"500"`
	Block        bool             `json:"block,omitempty" doc:"refuse the keys for ever; a compromised one always is"`
	Descendants  bool             `json:"descendants,omitempty" doc:"and what took their place"`
	Wait         bool             `json:"wait,omitempty" doc:"answer when the lists and OCSP say so"`
}

type revokeInput struct{ Body RevokeInputBody }

type revokedBody struct {
	Count int `json:"count" doc:"how many were not revoked before"`
}

func (a *api) revokeCertificates(ctx context.Context, actor gate.Actor, in *revokeInput) (revokedBody, error) {
	b := &in.Body
	n, err := a.Issuing.Revoke(ctx, actor, ca.RevokeRequest{
		Serials: b.Serials, Key: b.Key, Reason: b.Reason, InvalidSince: b.InvalidSince, Note: b.Note, Block: b.Block, Descendants: b.Descendants,
	}, b.Wait)
	return revokedBody{n}, err
}

type recallInput struct {
	Body struct {
		Serials   []ca.Serial `json:"serials,omitempty" maxItems:"10000"`
		Authority string      `json:"authority,omitempty" maxLength:"100" doc:"in place of serials: all that it signed and that are valid"`
		URL       string      `json:"url,omitempty" maxLength:"2048" doc:"where people read why; ACME clients show it"`
	}
}

func (a *api) recallCertificates(ctx context.Context, actor gate.Actor, in *recallInput) (recalledBody, error) {
	if in.Body.Authority != "" {
		n, err := a.Issuing.CA.RecallAuthority(ctx, actor, in.Body.Authority, in.Body.URL)
		return recalledBody{n}, err
	}
	n, err := a.Issuing.CA.Recall(ctx, actor, in.Body.Serials, in.Body.URL)
	return recalledBody{n}, err
}
