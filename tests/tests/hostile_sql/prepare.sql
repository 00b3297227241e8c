create schema target;

create table target.plain (id int primary key, note text);
insert into target.plain values (1, 'one'), (2, 'two');
create table target.gin (words tsvector);
create index gin_words on target.gin using gin (words) with (fastupdate = on);
insert into target.gin select to_tsvector('word' || i) from generate_series(1, 100) i;
create table target.parted (id int) partition by list (id);
create unlogged table target.unlogged (id int);
create sequence target.counter;
select nextval('target.counter');
create materialized view target.summary as select count(*) from target.plain;
create view target.view as select * from target.plain;

create function target.writes() returns int language sql volatile
    as $$ insert into target.plain values (3, 'written') returning id $$;
create function target.writes_as_owner() returns int language sql volatile security definer set search_path = ''
    as $$ insert into target.plain values (4, 'written') returning id $$;
create function target.writes_in_plpgsql() returns int language plpgsql volatile
    as $$ begin perform set_config('transaction_read_only', 'off', false); insert into target.plain values (5, 'written'); return 1; end $$;
create function target.says_it_is_stable() returns int language sql stable
    as $$ select (select max(id) from target.plain) + nextval('target.counter')::int $$;
create procedure target.procedure() language plpgsql
    as $$ begin commit; set transaction read write; insert into target.plain values (6, 'written'); commit; end $$;
create view target.writing_view as select target.writes() as id;
grant execute on all functions in schema target to public;
grant execute on all procedures in schema target to public;

select lo_from_bytea(4242, 'kept');
grant all on large object 4242 to public;
