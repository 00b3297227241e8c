-- A school: a column and a table of one name (grade, grades), two teachers of a course, two dates of an enrolment.
-- Deterministic but for today's date, before which the absences lie.

create schema school;
set search_path = school;

create table teachers (
    id          serial primary key,
    first_name  text    not null,
    last_name   text    not null,
    email       text    not null unique,
    subject     text    not null,
    hire_date   date    not null,
    is_tenured  boolean not null
);

create table courses (
    id           serial primary key,
    code         text   not null unique,
    title        text   not null,
    credits      int    not null,
    level        text   not null,
    teacher_id   int    not null references teachers,
    assistant_id int    references teachers,
    max_students int    not null,
    mandatory    boolean not null
);

create table students (
    id             serial primary key,
    first_name     text   not null,
    last_name      text   not null,
    date_of_birth  date   not null,
    gender         char(1) not null,
    grade          int    not null,
    nationality    text   not null,
    status         text   not null,
    enrollment_date date  not null,
    graduation_date date,
    has_scholarship boolean not null,
    email          text
);

create table enrolments (
    id           serial primary key,
    student_id   int  not null references students,
    course_id    int  not null references courses,
    term         text not null,
    enrolled_on  date not null,
    completed_on date,
    final_mark   numeric(4, 1),
    unique (student_id, course_id, term)
);

create table grades (
    id           serial primary key,
    enrolment_id int  not null references enrolments,
    kind         text not null,
    score        numeric(4, 1) not null,
    weight       numeric(3, 2) not null,
    graded_at    timestamptz not null
);

create table absences (
    id         serial primary key,
    student_id int  not null references students,
    absent_on  date not null,
    excused    boolean not null,
    reason     text
);

insert into teachers (first_name, last_name, email, subject, hire_date, is_tenured)
select (array['Ruth', 'Paul', 'Ines', 'Tom', 'Mara'])[1 + i % 5], (array['Klein', 'Ortiz', 'Shaw'])[1 + i % 3], 'teacher' || i || '@school.example',
       (array['Mathematics', 'History', 'Biology', 'Music'])[1 + i % 4], date '2008-08-01' + i * 211, i % 3 > 0
  from generate_series(1, 25) as i;

insert into courses (code, title, credits, level, teacher_id, assistant_id, max_students, mandatory)
select 'C' || 100 + i, (array['Algebra', 'World History', 'Genetics', 'Choir'])[1 + i % 4] || ' ' || 1 + i / 4, 2 + i % 5,
       (array['beginner', 'intermediate', 'advanced'])[1 + i % 3], 1 + (i * 7) % 22, case when i % 3 = 0 then 1 + (i * 5) % 25 end, 15 + i % 4 * 5, i % 4 = 0
  from generate_series(1, 40) as i;

insert into students (first_name, last_name, date_of_birth, gender, grade, nationality, status, enrollment_date, graduation_date, has_scholarship, email)
select (array['Amy', 'Bo', 'Cas', 'Dee', 'Eli', 'Fay', 'Gus'])[1 + i % 7], (array['Young', 'Novak', 'Silva', 'Meyer', 'Tanaka'])[1 + i % 5],
       date '2004-02-03' + i * 9, (array['F', 'M'])[1 + i % 2], 9 + i % 4, (array['German', 'Spanish', 'Japanese'])[1 + i % 3],
       (array['active', 'active', 'active', 'graduated', 'suspended', 'withdrawn'])[1 + i % 6], date '2020-08-15' + i * 4,
       case when i % 6 = 3 then date '2024-06-20' + i % 5 end, i % 9 = 0, case when i % 8 > 0 then 'student' || i || '@school.example' end
  from generate_series(1, 320) as i;

insert into enrolments (student_id, course_id, term, enrolled_on, completed_on, final_mark)
select 1 + (i * 17) % 300, 1 + (i * 3) % 38, (array['fall', 'spring', 'summer'])[1 + i % 3], date '2023-08-20' + i % 500,
       case when i % 4 > 0 then date '2023-12-15' + i % 500 end, case when i % 4 > 0 then 40 + i % 61 end
  from generate_series(1, 1100) as i on conflict do nothing;

insert into grades (enrolment_id, kind, score, weight, graded_at)
select id, (array['quiz', 'exam', 'essay'])[1 + id % 3], 35 + id * 13 % 66, 0.25 + id % 3 * 0.25, timestamptz '2023-09-20 10:00+00' + id % 400 * interval '1 day'
  from enrolments where id % 5 > 0;

insert into absences (student_id, absent_on, excused, reason)
select 1 + (i * i * 3) % 310, current_date - i % 120, i % 3 > 0, case when i % 3 > 0 then (array['ill', 'family', 'travel'])[1 + i % 7 % 3] end
  from generate_series(1, 260) as i;

analyze;
