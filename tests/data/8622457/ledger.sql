BEGIN TRANSACTION;
CREATE TABLE exports (
        id TEXT PRIMARY KEY, iqn TEXT NOT NULL UNIQUE, tid INTEGER NOT NULL UNIQUE, shard INTEGER NOT NULL,
        access TEXT NOT NULL, owner TEXT, chap_username TEXT UNIQUE, chap_password TEXT,
        mutual_username TEXT UNIQUE, mutual_password TEXT, deleting INTEGER NOT NULL DEFAULT 0,
        revision INTEGER NOT NULL, created_at TEXT NOT NULL
    ) STRICT;
INSERT INTO "exports" VALUES('demo','iqn.2017-01.io.kubevirt:sn.42',1065842372,0,'{"initiators":[],"networks":[]}',NULL,NULL,NULL,NULL,NULL,0,2,'2026-11-25T19:55:44.245437+00:00');
INSERT INTO "exports" VALUES('open','iqn.2026-11.io.lundock:open',1065842373,0,'{"initiators":[],"networks":[]}',NULL,NULL,NULL,NULL,NULL,0,1,'2026-11-25T19:55:46.305535+00:00');
INSERT INTO "exports" VALUES('chap','iqn.2026-11.io.lundock:chap',1065842374,0,'{"initiators":["iqn.2026-11.org.example:node-1"],"networks":[]}','{"cluster":"5c2f3b1e-8d70-4f4e-9d0b-3a52c4a7f001","release":"lundock/lundock","namespace":"default","claim":"vm-disk","claim_uid":"080681c0-2193-4a4d-ac3c-ce73ed749500"}','chap','recorded-chap-password',NULL,NULL,0,1,'2026-11-25T19:55:46.311920+00:00');
INSERT INTO "exports" VALUES('mutual','iqn.2026-11.io.lundock:mutual',1065842375,0,'{"initiators":[],"networks":[]}',NULL,'mutual','recorded-password','mutual-target','recorded-target-password',0,1,'2026-11-25T19:55:46.318590+00:00');
INSERT INTO "exports" VALUES('networks','iqn.2026-11.io.lundock:networks',1065842376,0,'{"initiators":[],"networks":["127.0.0.1","192.0.2.0/24"]}',NULL,NULL,NULL,NULL,NULL,0,1,'2026-11-25T19:55:46.324569+00:00');
INSERT INTO "exports" VALUES('many','iqn.2026-11.org.example:many',1065842377,0,'{"initiators":[],"networks":[]}',NULL,NULL,NULL,NULL,NULL,0,1,'2026-11-25T19:55:46.331227+00:00');
INSERT INTO "exports" VALUES('read-only','iqn.2026-11.io.lundock:read-only',1065842378,0,'{"initiators":["iqn.2026-11.org.example:node-2"],"networks":[]}',NULL,NULL,NULL,NULL,NULL,0,2,'2026-11-25T19:55:46.338158+00:00');
INSERT INTO "exports" VALUES('offline','iqn.2026-11.io.lundock:offline',1065842379,0,'{"initiators":[],"networks":[]}',NULL,NULL,NULL,NULL,NULL,0,1,'2026-11-25T19:55:46.349024+00:00');
CREATE TABLE images (name TEXT PRIMARY KEY, spec TEXT NOT NULL) STRICT;
INSERT INTO "images" VALUES('mine','{"urls":["http://images.example.org/mine.img"],"digest":"sha256:2fa4430272111c7854b204001461e16f2c73725b07dde2b6d1dc4f2aa8fe18da","format":"raw","licence":"CC0-1.0"}');
INSERT INTO "images" VALUES('broken','{"urls":["http://images.example.org/broken.img"],"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","format":"raw","licence":""}');
INSERT INTO "images" VALUES('slow','{"urls":["http://images.example.org/slow.img"],"digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111","format":"raw","licence":""}');
INSERT INTO "images" VALUES('late','{"urls":["http://images.example.org/late.img"],"digest":"sha256:2222222222222222222222222222222222222222222222222222222222222222","format":"raw","licence":""}');
CREATE TABLE luns (
        export TEXT NOT NULL REFERENCES exports(id) ON DELETE CASCADE, lun INTEGER NOT NULL,
        volume TEXT NOT NULL REFERENCES volumes(id), read_only INTEGER NOT NULL, PRIMARY KEY (export, lun)
    ) STRICT;
INSERT INTO "luns" VALUES('demo',1,'demo-686c46b8-empty',0);
INSERT INTO "luns" VALUES('demo',4,'demo-686c46b8-demo',0);
INSERT INTO "luns" VALUES('demo',5,'demo-686c46b8-host-disk-img-9b10a62f',0);
INSERT INTO "luns" VALUES('open',1,'empty',0);
INSERT INTO "luns" VALUES('chap',1,'owned',0);
INSERT INTO "luns" VALUES('mutual',1,'clone',0);
INSERT INTO "luns" VALUES('networks',1,'thick',0);
INSERT INTO "luns" VALUES('many',1,'from-demo',0);
INSERT INTO "luns" VALUES('many',2,'from-mine',0);
INSERT INTO "luns" VALUES('many',3,'grown',0);
INSERT INTO "luns" VALUES('read-only',7,'from-mine',1);
INSERT INTO "luns" VALUES('offline',1,'lost',0);
CREATE TABLE target (next_tid INTEGER NOT NULL);
INSERT INTO "target" VALUES(1065842381);
CREATE TABLE volumes (
        id TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, source TEXT NOT NULL, owner TEXT, thin INTEGER NOT NULL,
        state TEXT NOT NULL, condition TEXT, grows_from INTEGER, path TEXT, stand_in INTEGER NOT NULL DEFAULT 0,
        revision INTEGER NOT NULL, created_at TEXT NOT NULL, trashed_at TEXT
    ) STRICT;
INSERT INTO "volumes" VALUES('demo-686c46b8-empty',8388608,'{"type":"none"}',NULL,1,'ready',NULL,NULL,NULL,0,1,'2026-11-25T19:55:44.235355+00:00',NULL);
INSERT INTO "volumes" VALUES('demo-686c46b8-host-disk-img-9b10a62f',4194304,'{"type":"none"}',NULL,0,'ready',NULL,NULL,'/srv/disks/disk.img',0,1,'2026-11-25T19:55:44.242753+00:00',NULL);
INSERT INTO "volumes" VALUES('demo-686c46b8-demo',1048576,'{"type":"image","image":"demo"}',NULL,1,'ready',NULL,NULL,NULL,0,1,'2026-11-25T19:55:44.267564+00:00',NULL);
INSERT INTO "volumes" VALUES('empty',16777216,'{"type":"none"}',NULL,1,'ready',NULL,NULL,NULL,0,1,'2026-11-25T19:55:44.731231+00:00',NULL);
INSERT INTO "volumes" VALUES('owned',16777216,'{"type":"none"}','{"cluster":"5c2f3b1e-8d70-4f4e-9d0b-3a52c4a7f001","release":"lundock/lundock","namespace":"default","claim":"vm-disk","claim_uid":"080681c0-2193-4a4d-ac3c-ce73ed749500"}',1,'ready',NULL,NULL,NULL,0,1,'2026-11-25T19:55:44.738759+00:00',NULL);
INSERT INTO "volumes" VALUES('thick',8388608,'{"type":"none"}',NULL,0,'ready',NULL,NULL,NULL,0,3,'2026-11-25T19:55:44.742907+00:00',NULL);
INSERT INTO "volumes" VALUES('from-demo',4194304,'{"type":"image","image":"demo"}',NULL,1,'ready',NULL,NULL,NULL,0,1,'2026-11-25T19:55:44.747046+00:00',NULL);
INSERT INTO "volumes" VALUES('from-mine',4194304,'{"type":"image","image":"mine"}',NULL,1,'ready',NULL,NULL,NULL,0,1,'2026-11-25T19:55:44.753271+00:00',NULL);
INSERT INTO "volumes" VALUES('filling',4194304,'{"type":"image","image":"slow"}',NULL,1,'making',NULL,NULL,NULL,0,1,'2026-11-25T19:55:44.759294+00:00',NULL);
INSERT INTO "volumes" VALUES('clone',4194304,'{"type":"volume","volume":"from-mine","allow_in_use":true}',NULL,1,'ready',NULL,NULL,NULL,0,1,'2026-11-25T19:55:45.020059+00:00',NULL);
INSERT INTO "volumes" VALUES('grown',33554432,'{"type":"none"}',NULL,1,'ready',NULL,NULL,NULL,0,2,'2026-11-25T19:55:45.030290+00:00',NULL);
INSERT INTO "volumes" VALUES('trashed',16777216,'{"type":"none"}',NULL,1,'ready',NULL,NULL,NULL,0,2,'2026-11-25T19:55:45.038483+00:00','2026-11-25T19:55:45.042747+00:00');
INSERT INTO "volumes" VALUES('failed',4194304,'{"type":"image","image":"late"}',NULL,1,'failed','{"code":"image-failed","detail":"image late: the image could not be fetched; http://images.example.org/late.img: the digest of what it serves is not sha256:2222222222222222222222222222222222222222222222222222222222222222"}',NULL,NULL,0,1,'2026-11-25T19:55:45.059618+00:00',NULL);
INSERT INTO "volumes" VALUES('lost',16777216,'{"type":"none"}',NULL,1,'ready',NULL,NULL,NULL,0,1,'2026-11-25T19:55:46.288108+00:00',NULL);
CREATE INDEX luns_by_volume ON luns (volume);
COMMIT;
PRAGMA user_version = 1;
