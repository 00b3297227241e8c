-- Devices of a monitoring service: plural names in camel case, every one to be quoted.
-- Deterministic but for today's date, round which the readings and alerts lie.

create schema fleet;
set search_path = fleet;

create type "AlertSeverity" as enum ('low', 'medium', 'high', 'critical');
create type "AccountStatus" as enum ('active', 'suspended', 'closed');

create table "Accounts" (
    "AccountId"  int             primary key,
    "Company"    text            not null,
    "Plan"       text            not null,
    "Status"     "AccountStatus" not null,
    "MonthlyFee" numeric(8, 2)   not null,
    "CreatedAt"  timestamptz     not null,
    "DeletedAt"  timestamptz
);

create table "Sites" (
    "SiteId"    int  primary key,
    "AccountId" int  not null references "Accounts",
    "Name"      text not null,
    "Region"    text not null
);

create table "Devices" (
    "DeviceId"    int     primary key,
    "SiteId"      int     not null references "Sites",
    "Name"        text    not null,
    "Kind"        text    not null,
    "Firmware"    text    not null,
    "IsOnline"    boolean not null,
    "BatteryPct"  int,
    "InstalledOn" date    not null
);
comment on table "Devices" is 'aka sensors';

create table "Readings" (
    "ReadingId"   bigint      primary key,
    "DeviceId"    int         not null references "Devices",
    "TakenAt"     timestamptz not null,
    "Temperature" real        not null,
    "Humidity"    real
);

create table "Alerts" (
    "AlertId"    int             primary key,
    "DeviceId"   int             not null references "Devices",
    "Severity"   "AlertSeverity" not null,
    "Message"    text            not null,
    "RaisedAt"   timestamptz     not null,
    "ResolvedAt" timestamptz
);

insert into "Accounts"
select i, 'Company ' || i, (array['free', 'pro', 'enterprise'])[1 + i % 3], (array['active', 'active', 'suspended', 'closed'])[1 + i % 4]::"AccountStatus",
       i % 3 * 49 + i, timestamptz '2022-05-01 00:00+00' + i * interval '11 days', case when i % 11 = 0 then timestamptz '2025-01-01 00:00+00' end
  from generate_series(1, 60) as i;

insert into "Sites"
select i, 1 + (i * 7) % 60, 'Site ' || i, (array['north', 'south', 'east', 'west'])[1 + i % 4] from generate_series(1, 90) as i;

insert into "Devices"
select i, 1 + (i * 13) % 85, 'Device ' || i, (array['camera', 'thermostat', 'gateway'])[1 + i % 3], (array['1.0.4', '1.2.0', '2.0.0'])[1 + i % 7 % 3],
       i % 6 > 0, case when i % 10 > 0 then i * 17 % 101 end, date '2023-01-01' + i * 4
  from generate_series(1, 250) as i;

insert into "Readings"
select i, 1 + (i * 29) % 240, date_trunc('day', now()) - i % 40 * interval '1 day' + i % 24 * interval '1 hour', (10 + i * 7 % 200 / 8.0)::real,
       case when i % 5 > 0 then (30 + i % 50)::real end
  from generate_series(1, 4000) as i;

insert into "Alerts"
select i, 1 + (i * i) % 230, (array['low', 'medium', 'high', 'critical'])[1 + i % 7 % 4]::"AlertSeverity", 'Alert number ' || i,
       date_trunc('day', now()) - i % 90 * interval '1 day' + interval '3 hours', case when i % 3 > 0 then date_trunc('day', now()) - i % 90 * interval '1 day' + interval '5 hours' end
  from generate_series(1, 400) as i;

analyze;
