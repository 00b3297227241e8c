-- Logistics: singular names in camel case, two warehouses of a shipment, units in the names, states with an underscore.
-- Deterministic but for today's date, round which the shipments lie.

create schema freight;
set search_path = freight;

create table "Warehouse" (
    "id"           int primary key,
    "name"         text not null,
    "city"         text not null,
    "countryCode"  char(2) not null,
    "capacityM3"   int not null,
    "isActive"     boolean not null,
    "managerName"  text
);

create table "Driver" (
    "id"            int primary key,
    "firstName"     text not null,
    "lastName"      text not null,
    "licenseClass"  text not null,
    "licenseExpiry" date not null,
    "hiredAt"       date not null,
    "onLeave"       boolean not null,
    "rating"        numeric(2, 1)
);

create table "Truck" (
    "id"              int primary key,
    "plateNumber"     text not null unique,
    "model"           text not null,
    "manufacturer"    text not null,
    "capacityKg"      int not null,
    "mileageKm"       int not null,
    "fuelType"        text not null,
    "status"          text not null,
    "isRefrigerated"  boolean not null,
    "homeWarehouseId" int references "Warehouse",
    "lastServiceDate" date,
    "nextServiceDate" date not null
);

create table "Shipment" (
    "id"                     int primary key,
    "trackingNumber"         text not null unique,
    "originWarehouseId"      int not null references "Warehouse",
    "destinationWarehouseId" int not null references "Warehouse",
    "truckId"                int references "Truck",
    "driverId"               int references "Driver",
    "status"                 text not null,
    "priority"               text not null,
    "weightKg"               numeric(8, 1) not null,
    "shippingCost"           numeric(8, 2) not null,
    "createdAt"              timestamptz not null,
    "shippedAt"              timestamptz,
    "deliveredAt"            timestamptz,
    "dueDate"                date not null,
    "isFragile"              boolean not null
);

create table "Package" (
    "id"          int primary key,
    "shipmentId"  int not null references "Shipment",
    "description" text,
    "weightKg"    numeric(6, 2) not null,
    "lengthCm"    int not null,
    "damaged"     boolean not null
);

insert into "Warehouse"
select i, (array['North', 'South', 'Harbor', 'Valley'])[1 + i % 4] || ' Depot ' || i, (array['Rotterdam', 'Milan', 'Gdansk', 'Vienna', 'Malmo'])[1 + i % 5],
       (array['NL', 'IT', 'PL', 'AT', 'SE'])[1 + i % 5], 500 * (1 + i * 3 % 11), i % 7 > 0, case when i % 4 > 0 then 'Manager ' || i end
  from generate_series(1, 18) as i;

insert into "Driver"
select i, (array['Olga', 'Piet', 'Rosa', 'Sven'])[1 + i % 4], (array['Bakker', 'Conti', 'Duda', 'Ekman', 'Fuchs'])[1 + i % 5], (array['B', 'C', 'CE'])[1 + i % 3],
       current_date + (i * 23 % 400 - 60), date '2016-04-01' + i * 53, i % 8 = 0, case when i % 6 > 0 then 2.5 + i % 26 / 10.0 end
  from generate_series(1, 60) as i;

insert into "Truck"
select i, 'TR-' || 500 + i, (array['Actros', 'FH16', 'R450'])[1 + i % 3], (array['Mercedes', 'Volvo', 'Scania'])[1 + i % 3], 7500 + i % 5 * 4000, 10000 + i * 7321 % 400000,
       (array['diesel', 'electric', 'hybrid'])[1 + i % 7 % 3], (array['available', 'on_route', 'maintenance', 'retired'])[1 + i % 4], i % 5 = 0,
       case when i % 9 > 0 then 1 + i % 17 end, case when i % 6 > 0 then current_date - i * 5 end, current_date + i * 3 - 40
  from generate_series(1, 48) as i;

insert into "Shipment"
select i, 'SH' || 700000 + i, 1 + i % 17, 1 + (i * 7 + 3) % 17, case when i % 10 > 0 then 1 + i % 45 end, case when i % 10 > 0 then 1 + i % 55 end,
       case when i % 80 < 10 then 'pending' when i % 80 < 25 then 'in_transit' when i % 13 = 0 then 'cancelled' when i % 11 = 0 then 'lost' else 'delivered' end,
       (array['standard', 'express', 'overnight'])[1 + i % 3], 20 + i * 41 % 3000 + i % 10 / 10.0, 15 + i * 17 % 900,
       date_trunc('day', now()) - i % 80 * interval '1 day' + interval '7 hours', case when i % 80 >= 10 then date_trunc('day', now()) - (i % 80 - 1) * interval '1 day' + interval '9 hours' end,
       case when i % 80 >= 25 and i % 13 > 0 and i % 11 > 0 then date_trunc('day', now()) - (i % 80 - 4) * interval '1 day' + interval '15 hours' end,
       current_date - i % 80 + 5, i % 4 = 0
  from generate_series(1, 1500) as i;

insert into "Package"
select i, 1 + (i * 7) % 1480, case when i % 5 > 0 then (array['books', 'glass', 'tools', 'fruit'])[1 + i % 4] end, 1 + i * 13 % 90 + 0.25, 10 + i * 3 % 120, i % 19 = 0
  from generate_series(1, 2600) as i;

analyze;
