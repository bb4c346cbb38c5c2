// SPDX-License-Identifier: Apache-2.0

// Package entra is an emulator of the parts of Microsoft's cloud that decide who gets into
// mailboxes: the token endpoint, the directory and its logs over Microsoft Graph, Exchange Web
// Services, and the Management Activity API. It is for tests and for `tally demo`; nothing that
// a server runs may import it (arch_test.go holds that).
//
// It is written to Microsoft's public documents, and tested with Microsoft's own client. Each answer
// says that it comes from an emulator (EmulatorHeader), and so does every token that can be read.
//
// # A world and its tenants
//
// A World is a state machine with a clock of its own. AddTenant and AddApplication set it
// up without any cost worth naming, so that thousands of tenants fit into one process;
// AddForeign gives a tenant a service principal of an application that lives elsewhere. The methods
// AddCertificate, SetEnabled, Revoke and their like are an administrator's acts: they are audited and
// show as late as the faults say. Start serves all of it over HTTPS on loopback.
//
//	world, err := entra.New(entra.Config{Seed: 7})
//	tenant := world.AddTenant(entra.TenantSpec{Name: "Customer 1"})
//	app := tenant.AddApplication(entra.AppSpec{
//		Name: "Mail sync", Certificates: [][]byte{der}, Grants: []entra.Grant{{API: entra.Graph, Role: "Mail.Read"}},
//	})
//	servers, err := world.Start(ctx) // servers.Login, servers.Graph, servers.CA
//
// # Who calls from where
//
// The logs show where a caller connects from. All are on loopback, so addresses there stand for
// public ones: see PublicAddress. A client chooses one by the local address that it
// dials from (Servers.Client).
//
// # Time
//
// Every request for a token becomes a sign-in that can be read after a drawn latency; every
// change of the directory becomes an audit record. OnSignIn, OnAudit and OnCall tell of them when
// they happen, for what else is derived from them; Tenant.SignIns and Tenant.Audits are the truth that
// tests compare with.
//
// # Mail, what was read of it, and exports
//
// NewUnifiedAudit notes mail that applications read and changes of the directory, as late, as unordered
// and as often as the Management Activity API and the audit log queries of Graph tell them.
// NewEWS is the old door to the same mailboxes. NewDiagnostics exports what diagnostic settings
// do. All three are made before Start; the first two are mounted as ServiceManagement and
// ServiceOutlook.
//
// # A thief
//
// An Adversary does what somebody does with a key or a token that was stolen, and what honest holders
// do that looks like it. It speaks to the servers like any other client, and labels each of its acts
// with the Truth, which is what verdicts are compared with.
//
// # What nobody has seen in the documents
//
// These are readings of the evidence, which only a live tenant can settle: sign-ins are listed one by
// one and never aggregated; the request id of the token endpoint is the id of the sign-in; a
// request whose certificate is not registered is logged with the thumbprint that it named and
// without a key id; the sign-ins of foreign applications carry key ids (ForeignKeyHidden takes them
// away); version 1.0 lists the sign-ins of service principals with fewer members; the wording
// of errors, apart from their codes; status 400 for a delta token that expired; what Exchange answers
// where EWS is switched off (403), and how it tells who may use it (no documented call does);
// that the last use of a key is told of foreign applications too; that auditData of an audit log
// query has the members of the Management Activity API; who UserId is in records of mail that an application read
// (the owner of the mailbox); that to find messages by EWS is not recorded and to list them by Graph is.
package entra
